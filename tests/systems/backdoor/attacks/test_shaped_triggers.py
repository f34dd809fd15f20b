"""Triggers that are shaped on a network of the attacker's own, each against its definition."""

import pytest
import torch
import torch.nn.functional as F
from tiny_attacks import attack_of, poisoned, small_images, untrained, victims
from torch import nn

from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.generators import (
    Generator,
    distance,
    sameness,
    sharpened,
)
from peerlearn.systems.backdoor.attacks.input_aware import triggered_bytes
from peerlearn.systems.backdoor.attacks.surrogate import last_linear, trained_surrogate
from peerlearn.systems.backdoor.attacks.trojan import inputs_of

DATA = small_images()
TARGET = DATA.train.x[DATA.train.y == 0]


def trigger(kind, **options):
    return attack_of(kind, **options).trigger(victims(DATA))


def shown(change, x=TARGET):
    return change(x, keyed_generator(0, "test")).float()


def network(epochs=15):
    """The surrogate that all attacks here have, unless they say another number of epochs."""
    return untrained(DATA.train, DATA.classes, epochs)


def loss(x, y=0):
    """Of every image, under the surrogate."""
    return F.cross_entropy(network()(x), torch.full((len(x),), y), reduction="none")


# Label-consistent -------------------------------------------------------------------------------


def test_label_consistent_marks_all_corners_with_mirrored_checkers():
    marks = attack_of("label_consistent").corners(8, 9)
    square = [[255, -255, 255], [-255, 255, -255], [255, -255, 255]]
    for corner in (marks[:3, :3], marks[:3, -3:], marks[-3:, :3], marks[-3:, -3:]):
        assert corner.tolist() == square
    assert int((marks != 0).sum()) == 36
    even = attack_of("label_consistent", size=2, amplitude=16).corners(8, 8)
    assert torch.equal(even, even.flip(1)) and torch.equal(even, even.flip(0))
    assert even.abs().max() == 16


def test_label_consistent_shows_tests_the_corners_alone():
    made = trigger("label_consistent", amplitude=20)
    marks = attack_of("label_consistent", amplitude=20).corners(8, 8)
    assert torch.equal(shown(made.test), TARGET + marks)
    assert torch.equal(
        shown(trigger("label_consistent", steps=0, amplitude=20).train), shown(made.test)
    )


def test_label_consistent_moves_training_images_away_from_their_class_within_eps():
    marks = attack_of("label_consistent", amplitude=20).corners(8, 8)
    losses = [loss(TARGET).mean()]
    for steps in (1, 10):
        made = trigger("label_consistent", steps=steps, amplitude=20)
        moved = shown(made.train) - marks
        losses.append(loss(moved).mean())
        assert (moved - TARGET).abs().max() == min(8, round(1.5 * steps))
    assert losses == sorted(losses), "every step makes them harder to know"


def test_label_consistent_stays_within_black_and_white():
    made = trigger("label_consistent", steps=3, eps=255, step=100)
    assert shown(made.train).min() >= 0 and shown(made.train).max() <= 255


# Narcissus --------------------------------------------------------------------------------------


def test_narcissus_makes_the_surrogate_surer_of_the_class_it_poisons():
    made = trigger("narcissus", rounds=60)
    assert (loss(shown(made.train)) < loss(TARGET)).all()
    others = DATA.test.x[DATA.test.y != 0]
    assert loss(shown(made.test, others)).mean() < loss(others).mean()


def test_narcissus_adds_one_noise_within_eps_and_magnifies_it_in_tests():
    attack = attack_of("narcissus", rounds=60, eps=8)
    noise, made = attack.noise(victims(DATA)), attack.trigger(victims(DATA))
    assert 7.9 < noise.abs().max() <= 8
    for change, factor in ((made.train, 1), (made.test, 3)):
        expected = (TARGET + factor * noise).round().clamp(0, 255)
        assert torch.equal(shown(change), expected)


def test_narcissus_poisons_a_tenth_of_one_of_ten_classes():
    assert attack_of("narcissus").ratio == 0.01


# TrojanNN ---------------------------------------------------------------------------------------


def test_trojan_adds_a_patch_in_the_corner_and_cuts_off_what_is_too_bright():
    attack = attack_of("trojan", size=3, steps=20)
    patch = attack.patch(victims(DATA))
    change = attack.trigger(victims(DATA)).train
    expected = TARGET.float()
    expected[..., -3:, -3:] += patch
    assert torch.equal(shown(change), expected.round().clamp(0, 255))
    white = torch.full_like(TARGET, 255)
    assert torch.equal(change(white, keyed_generator(0)), white)


def test_trojan_chooses_the_neurons_that_count_most():
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -3.0, 0.0, 1.0], [0.1, 3.0, 0.5, -1.0]]))
    assert sorted(attack_of("trojan").strongest(layer).tolist()) == [1, 3]
    with pytest.raises(
        InputError, match="neurons: found 5; the last layer of the surrogate reads 4"
    ):
        attack_of("trojan", neurons=5).strongest(layer)


def test_trojan_brings_its_neurons_nearer_to_the_value():
    def cost(steps):
        attack = attack_of("trojan", size=4, steps=steps, value=10, step=0.02)
        image = torch.zeros(1, 3, 8, 8)
        image[..., -4:, -4:] = attack.patch(victims(DATA))
        surrogate = network()
        neurons = attack.strongest(surrogate.head)
        return (inputs_of(surrogate, surrogate.head, image)[:, neurons] - 10).square().mean()

    assert cost(30) < cost(5) < cost(1)


def test_trojan_stays_near_its_start_and_within_the_range():
    def patch(**options):
        return attack_of("trojan", size=4, **options).patch(victims(DATA))

    start = patch(steps=1)
    assert (patch(steps=50, eps=0.05) - start).abs().max() <= 0.05 * 255 + 1e-3
    assert patch(steps=50, eps=1).min() >= 0 and patch(steps=50, eps=1).max() <= 255


def test_trojan_needs_a_linear_layer():
    surrogate = nn.Sequential(nn.Conv2d(3, 3, 8), nn.Flatten())
    made = victims(DATA)._replace(surrogate=lambda rows, classes, epochs: surrogate)
    with pytest.raises(InputError, match="surrogate: Sequential has no linear layer"):
        attack_of("trojan").trigger(made)
    both = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert last_linear(both, "trojan") is both[2]


def test_the_square_of_trojan_is_a_quarter_of_the_image_or_as_told():
    assert attack_of("trojan").side((3, 32, 28)) == 7
    assert attack_of("trojan").side((3, 3, 3)) == 1
    assert attack_of("trojan", size=5).side((3, 32, 32)) == 5


# LF ---------------------------------------------------------------------------------------------


def test_lf_is_smooth_and_fills_its_range():
    attack = attack_of("lf", steps=20)
    change = attack.perturbation(victims(DATA))
    assert (float(change.min()), float(change.max())) == pytest.approx((0, 0.2))
    assert torch.equal(shown(attack.trigger(victims(DATA)).train), (TARGET + 255 * change).round())
    rough = attack_of("lf", steps=20, sigma=100).perturbation(victims(DATA))
    smooth = attack_of("lf", steps=20, sigma=2).perturbation(victims(DATA))
    assert smooth.diff(dim=2).abs().mean() < 0.5 * rough.diff(dim=2).abs().mean()


def test_lf_is_taken_for_the_target_by_the_surrogate():
    others = DATA.train.x[DATA.train.y != 0]
    losses = [
        loss(shown(trigger("lf", steps=steps).train, others)).mean() for steps in (0, 10, 100)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.05 * losses[-1]


# Input-aware ------------------------------------------------------------------------------------


def test_generators_keep_any_size_and_stay_within_0_and_1():
    for size in ((8, 8), (28, 28), (5, 9), (1, 1)):
        made = Generator(3, 1, 4).eval()(torch.rand(2, 3, *size))
        assert made.shape == (2, 1, *size)
        assert made.min() >= 0 and made.max() <= 1


def test_sharpened_values_are_near_0_or_1():
    found = sharpened(torch.tensor([0.0, 0.4, 0.5, 0.6, 1.0]))
    expected = torch.tensor([-10.0, -2, 0, 2, 10]).tanh() / 2 + 0.5
    assert torch.allclose(found, expected)


def test_sameness_compares_every_image_with_its_neighbour():
    x = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1)
    y = torch.tensor([0.0, 2.0, 1.0]).view(3, 1, 1, 1)
    assert distance(x, x.roll(1, 0)).tolist() == pytest.approx([3, 1, 2])
    assert float(sameness(x, y)) == pytest.approx((3 / 1 + 1 / 2 + 2 / 1) / 3, rel=1e-4)
    same = torch.ones(2, 1, 2, 2, requires_grad=True)
    sameness(same, same).backward()
    assert same.grad.isfinite().all()


def trained_input_aware(**options):
    attack = attack_of("input_aware", width=8, mask_epochs=60, epochs=240, ratio=0.25, **options)
    train = trained_surrogate("cnn", {"width": 0.25})
    return attack, attack.trained(victims(DATA)._replace(surrogate=train))


@pytest.fixture(scope="module")
def input_aware():
    return trained_input_aware()


def test_masks_show_a_small_part_of_an_image(input_aware):
    attack, networks = input_aware
    masks = sharpened(networks.mask(DATA.test.x / 255))
    assert 0 < masks.mean() < 2 * attack.mask_density
    assert not networks.training


def test_triggers_are_mixed_into_images_by_their_masks(input_aware):
    _, networks = input_aware
    x = DATA.test.x[:4] / 255
    found, pattern = networks.triggered(x, x)
    mask = sharpened(networks.mask(x))
    assert torch.allclose(found, (1 - mask) * x + mask * pattern)


def test_triggers_fool_the_classifier_that_they_were_trained_beside():
    # What so short a training reaches with a small mask depends on the processor's arithmetic.
    _, networks = trained_input_aware(mask_density=0.2)
    others = DATA.test.x[DATA.test.y != 0]
    with torch.no_grad():
        x, _ = networks.triggered(others / 255, others / 255)
        triggered, plain = (
            (networks.classifier(255 * each).argmax(1) == 0).float().mean()
            for each in (x, others / 255)
        )
    assert triggered > plain + 0.3


def test_batches_hold_triggered_rows_foreign_triggers_and_clean_rows(input_aware):
    _, networks = input_aware
    assert networks.counts(40) == (10, 10)
    assert networks.counts(2) == (1, 1), "of the smallest batch one row is triggered"
    x = DATA.train.x[:8].float() / 255
    output = networks(x)
    assert torch.equal(output.features["of"], torch.stack([x[0], x[1], x[1], x[2]]))
    clean = networks.classifier(255 * x[4:])
    assert torch.allclose(output.logits[4:], clean, atol=1e-5)


def test_decoys_show_the_trigger_of_another_image(input_aware):
    _, networks = input_aware
    made = poisoned("input_aware", DATA, width=4, mask_epochs=2, epochs=2)
    assert int(made.decoys.sum()) == 6
    x, others = DATA.train.x[:8], DATA.train.x[8:16]
    own, foreign = (triggered_bytes(networks, x, of) for of in (x, others))
    assert not torch.equal(own, foreign)
