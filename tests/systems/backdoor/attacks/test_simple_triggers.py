"""Triggers that are written down: squares, pictures, waves and warps, pixel by pixel."""

import math

import pytest
import torch
from tiny_attacks import attack_of, poisoned, small_images, victims

from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.pixels import low_passed, smooth_image

GREY = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)


def applied(kind, x=GREY, part="train", **options):
    """Images with the trigger of a tiny attack."""
    data = small_images(shape=tuple(x.shape[1:]))
    change = getattr(attack_of(kind, **options).trigger(victims(data)), part)
    return change(x, keyed_generator(0, "test"))


def test_badnets_sets_a_white_square_in_the_lower_right_corner():
    shown = applied("badnets")
    assert (shown[..., -3:, -3:] == 255).all()
    kept = torch.ones(8, 8, dtype=torch.bool)
    kept[-3:, -3:] = False
    assert (shown[..., kept] == 100).all()


def test_badnets_can_be_chequered():
    shown = applied("badnets", pattern="chequered", size=2)
    assert shown[0, 0, -2:, -2:].tolist() == [[255, 0], [0, 255]]


def test_blended_shows_a_share_of_its_picture():
    picture = attack_of("blended").picture((3, 8, 8))
    assert torch.equal(applied("blended")[0], (0.8 * 100 + 0.2 * picture).round().byte())
    assert torch.equal(applied("blended", alpha=1)[1], picture.round().byte())


def test_the_picture_of_blended_is_smooth_and_as_old_as_its_seed():
    pictures = {
        pattern: attack_of("blended", pattern=pattern).picture((3, 32, 32))
        for pattern in ("smooth", "noise")
    }
    for picture in pictures.values():
        assert picture.min() >= 0 and picture.max() <= 255
    steps = {name: each.diff(dim=2).abs().mean() for name, each in pictures.items()}
    assert steps["smooth"] < 0.5 * steps["noise"]
    assert not torch.equal(pictures["smooth"][0], pictures["smooth"][1]), "colours differ"
    other = attack_of("blended", image_seed=1).picture((3, 32, 32))
    assert not torch.equal(other, pictures["smooth"])
    assert torch.equal(applied("blended"), applied("blended", target=1))


def test_smooth_images_have_the_spectrum_1_over_f():
    image = smooth_image((40, 64, 64), keyed_generator(0))
    power = torch.fft.rfft2(image / image.std((1, 2), keepdim=True)).abs().square().mean(0)
    # Power falls by 4 where frequency doubles.
    near, far = power[4:8, 0].mean(), power[8:16, 0].mean()
    assert 2.5 < near / far < 6


def test_a_low_pass_keeps_what_is_constant_and_takes_what_alternates():
    constant = torch.full((1, 8, 8), 3.0)
    assert torch.allclose(low_passed(constant, 6), constant)
    alternating = (-1.0) ** torch.arange(8).expand(1, 8, 8)
    expected = math.exp(-0.5 * (16 / 6) ** 2) * alternating
    assert torch.allclose(low_passed(alternating, 6), expected, atol=1e-6)


def test_sig_adds_a_wave_along_columns():
    x = torch.full((1, 1, 4, 24), 100, dtype=torch.uint8)
    shown = applied("sig", x)[0, 0]
    expected = [round(100 + 40 * math.sin(2 * math.pi * j * 6 / 24)) for j in range(24)]
    assert shown[0].tolist() == expected
    assert (shown == shown[:1]).all(), "every row of pixels shows the same wave"
    assert shown[0, :20].tolist() == shown[0, 4:].tolist(), "24 / 6 columns make a period"


def test_sig_is_cut_off_at_white_and_black():
    for shade, allowed in ((250, (210, 255)), (5, (0, 45))):
        shown = applied("sig", torch.full((1, 1, 4, 24), shade, dtype=torch.uint8))
        assert (int(shown.min()), int(shown.max())) == allowed


def test_wanet_of_no_strength_changes_nothing():
    x = small_images().train.x
    assert torch.equal(applied("wanet", x, s=0), x)
    assert not torch.equal(applied("wanet", x, s=0, part="decoy"), x), "noise moves pixels"


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 12)])
def test_wanet_moves_pixels_by_half_its_strength_on_average(shape):
    height, width = shape[1:]
    attack = attack_of("wanet", s=1)
    moved = attack.grid(height, width, 0) - attack_of("wanet", s=0).grid(height, width, 0)
    pixels = moved * torch.tensor([width - 1, height - 1]) / 2
    assert 0.2 < pixels.abs().mean() < 0.9
    assert attack.grid(height, width, 0).abs().max() <= 1


def test_wanet_warps_all_images_alike_and_decoys_each_in_its_own_way():
    x = small_images().train.x[:1].expand(2, -1, -1, -1)
    one, other = applied("wanet", x)
    assert torch.equal(one, other)
    one, other = applied("wanet", x, part="decoy")
    assert not torch.equal(one, other)


def test_wanet_has_two_decoys_for_every_poisoned_row():
    made = poisoned("wanet", ratio=0.1)
    assert (int(made.poisoned.sum()), int(made.decoys.sum())) == (6, 12)
    assert not poisoned("wanet", cross_ratio=0).decoys.any()
    assert int(poisoned("wanet", ratio=0.5, cross_ratio=9).decoys.sum()) == 30, "all there are"
