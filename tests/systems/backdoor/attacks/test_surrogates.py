"""The attacker's own network: trained by the engine, and called with images as they are."""

import pytest
import torch
import torch.nn.functional as F
from tiny_attacks import small_images
from torch import nn

from peerlearn.data.datasets import channel_statistics
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.systems.backdoor.attacks.surrogate import (
    Surrogate,
    last_linear,
    logits_of,
    trained_surrogate,
)
from peerlearn.transfer.outputs import PeerOutput

DATA = small_images()
SMALL = {"width": 0.25}


def train(seed=0, model="cnn", arguments=SMALL, epochs=20, rows=DATA.train, **more):
    return trained_surrogate(model, arguments, seed, **more)(rows, DATA.classes, epochs)


def test_it_learns_its_rows_and_is_given_as_it_is_evaluated():
    surrogate = train()
    assert not any(module.training for module in surrogate.modules())
    assert not any(weight.requires_grad for weight in surrogate.parameters())
    accuracy = (surrogate(DATA.test.x).argmax(1) == DATA.test.y).float().mean()
    assert accuracy > 0.9


def test_bytes_and_floats_are_read_alike_and_give_plain_logits():
    surrogate = train(epochs=1)
    logits = surrogate(DATA.test.x)
    assert logits.shape == (60, 3)
    assert torch.equal(logits, surrogate(DATA.test.x.float()))


def test_images_are_normalised_by_the_rows_that_it_learned():
    surrogate = Surrogate(nn.Flatten(), *channel_statistics(DATA.train.rows, torch.arange(60)))
    surrogate.network.add_module("weight", nn.Linear(1, 1))  # which says where it is
    normalised = surrogate(DATA.train.x)
    assert normalised.mean() == pytest.approx(0, abs=1e-5)
    assert normalised.std() == pytest.approx(1, abs=1e-2)


def test_it_is_differentiable_in_images():
    x = DATA.test.x.float().requires_grad_()
    loss = F.cross_entropy(train(epochs=2)(x), DATA.test.y)
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.shape == x.shape and gradient.abs().max() > 0


def test_equal_seeds_give_equal_networks_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    one, again, other = (train(seed, epochs=2)(DATA.test.x) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(one, train(epochs=3)(DATA.test.x))
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_without_a_label_teach_it_nothing_wrong():
    y = DATA.train.y.clone()
    y[::2] = UNLABELLED
    surrogate = train(rows=DATA.train.with_labels(y))
    assert (surrogate(DATA.test.x).argmax(1) == DATA.test.y).float().mean() > 0.8


def test_epochs_are_told_to_whoever_watches():
    seen = []
    train(epochs=2, observe=seen.append)
    assert [event["epoch"] for event in seen if event["event"] == "epoch"] == [1, 2]


def test_unknown_models_are_refused_by_the_name_of_their_field():
    with pytest.raises(InputError, match=r"--surrogate: unknown model 'cnnn'. Did you mean 'cnn'"):
        train(model="cnnn", arguments=None, field="--surrogate")


def test_any_form_of_output_becomes_logits():
    logits = torch.rand(2, 3)
    for output in (logits, PeerOutput(logits)):
        assert torch.equal(logits_of(lambda x, made=output: made, DATA.test.x[:2]), logits)


def test_built_in_networks_have_a_last_linear_layer():
    surrogate = train(epochs=1)
    assert last_linear(surrogate, "trojan") is surrogate.network.classifier
