"""Images made worse, a little or much."""

import numpy as np
import pytest
import torch
from torch import Tensor

from peerlearn.data.augment import Normalisation
from peerlearn.data.corruption import (
    CONTRAST,
    KINDS,
    LEVELS,
    NOISE,
    CorruptionKind,
    check_unit_images,
    corrupted,
    corruption,
)
from peerlearn.errors import InputError

NORMALISATION = Normalisation.of([0.4, 0.5, 0.3], [0.2, 0.25, 0.3])


def images(rows: int = 6, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(rows, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def worse(x: Tensor, kind: CorruptionKind, level: int, seed: int = 0) -> Tensor:
    return corrupted(x, kind, level, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_worse_than_the_one_before_and_stays_in_the_unit_interval(
    kind: CorruptionKind,
) -> None:
    x = images()
    made = [worse(x, kind, level) for level in LEVELS]
    harm = [(each - x).square().mean().item() for each in made]
    assert all(one < other for one, other in zip([0, *harm], harm, strict=False))
    assert all(each.shape == x.shape and each.min() >= 0 and each.max() <= 1 for each in made)


def test_what_each_kind_does() -> None:
    grey = torch.full((4, 3, 16, 16), 0.5)
    assert (worse(grey, "noise", 1) - grey).std().item() == pytest.approx(NOISE[0], rel=0.05)
    for kind in ("blur", "contrast", "pixelate"):
        torch.testing.assert_close(worse(grey, kind, 5), grey)
    x = images()
    flat = worse(x, "contrast", 3)
    centred = [each - each.mean((2, 3), keepdim=True) for each in (x, flat)]
    torch.testing.assert_close(centred[1], CONTRAST[2] * centred[0])
    coarse = worse(x, "pixelate", 3)  # blocks of two pixels along a side
    means = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(coarse[:, :, ::2, ::2], means)
    torch.testing.assert_close(coarse[:, :, 1::2, 1::2], means)
    blurred = worse(x, "blur", 5)
    assert blurred.diff(dim=3).abs().mean() < x.diff(dim=3).abs().mean()
    torch.testing.assert_close(blurred[:1], worse(x[:1], "blur", 5))  # not with other rows


def test_blur_is_as_wide_in_images_of_any_size() -> None:
    small, large = images(side=16), images(side=64)
    halves = worse(large, "blur", 4)[:, :, ::4, ::4], worse(small, "blur", 4)
    near = (halves[0] - halves[1]).abs().mean()
    assert near < (halves[0] - large[:, :, ::4, ::4]).abs().mean()


def test_noise_is_a_function_of_seed_and_rows_not_of_batches() -> None:
    x = (images(7, 5) - 0.4) / 0.3

    def in_batches(size: int, seed: int = 0, level: int = 2) -> Tensor:
        change = corruption("noise", level, NORMALISATION, seed)
        return torch.cat([change(each) for each in x.split(size)])

    assert torch.equal(in_batches(7), in_batches(3))
    assert not torch.equal(in_batches(7), in_batches(7, seed=1))
    assert not torch.equal(in_batches(7), in_batches(7, level=3))


def test_what_peers_read_is_normalised_again() -> None:
    x, (mean, std) = (
        images(),
        (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.3], [0.2, 0.25, 0.3])),
    )
    read = (x - mean) / std
    for kind in KINDS:
        found = corruption(kind, 4, NORMALISATION, 3)(read) * std + mean
        assert found.min() > -1e-5
        assert found.max() < 1 + 1e-5
        if kind != "noise":
            torch.testing.assert_close(found, worse(x, kind, 4), atol=1e-5, rtol=0)
    assert not torch.equal(read, corruption("noise", 1, NORMALISATION, 3)(read))


def test_rows_that_are_no_images_and_images_in_other_units_are_refused() -> None:
    check_unit_images(NORMALISATION.apply(images()), NORMALISATION)
    with pytest.raises(InputError, match=r"evaluation.corruption: found images with values from"):
        check_unit_images(NORMALISATION.apply(9 * images()), NORMALISATION)
    with pytest.raises(InputError, match=r"is for images; peers read rows of shape \(5,\)"):
        check_unit_images(torch.zeros(2, 5), Normalisation.of([0.0], [1.0]))
