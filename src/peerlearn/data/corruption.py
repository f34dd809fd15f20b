"""Images made worse in five steps, to see how predictions fall: noise, blur, contrast, pixelate.

In the spirit of CIFAR-10-C (Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", ICLR 2019), with severities of our own, scaled with the image
size: numbers are not those of CIFAR-10-C.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.data.augment import Normalisation
from peerlearn.errors import InputError
from peerlearn.randomness import derive_seed

CorruptionKind = Literal["noise", "blur", "contrast", "pixelate"]
KINDS: tuple[CorruptionKind, ...] = get_args(CorruptionKind)
LEVELS = (1, 2, 3, 4, 5)

NOISE = (0.04, 0.08, 0.12, 0.18, 0.26)
"""Standard deviation of Gaussian noise, of values in [0, 1]."""
BLUR = (0.02, 0.035, 0.05, 0.075, 0.1)
"""Standard deviation of a Gaussian kernel, as a share of the shorter side."""
CONTRAST = (0.7, 0.5, 0.35, 0.22, 0.12)
"""What is left of the distance to the mean of a channel of an image."""
PIXELATE = (0.8, 0.6, 0.5, 0.4, 0.3)
"""Blocks of one colour along a side, as a share of the pixels that there are."""

_SLACK = 1e-3
Corrupt = Callable[[Tensor], Tensor]
"""Makes of what peers read of a batch of images the same of worse ones."""


def corruption(
    kind: CorruptionKind, level: int, normalisation: Normalisation, seed: int
) -> Corrupt:
    """What makes normalised batches worse, one after the other.

    Noise is keyed by `seed`, alike at every level, and a function of the order of rows alone,
    however they are put into batches.

    Args:
        kind: of corruption.
        level: 1 (hardly) to 5 (badly).
        normalisation: of what peers read; images are corrupted in [0, 1].
    """
    generator = np.random.default_rng(derive_seed(seed, "corruption", kind))
    worse = partial(corrupted, kind=kind, level=level, generator=generator)

    def over(x_BCHW: Tensor) -> Tensor:
        mean, std = _by_channel(normalisation)
        return (worse((x_BCHW.cpu() * std + mean).clamp(0, 1)) - mean) / std

    return over


def corrupted(
    x_BCHW: Tensor, kind: CorruptionKind, level: int, generator: np.random.Generator
) -> Tensor:
    """Images in [0, 1], worse and in [0, 1] again; `generator` draws noise."""
    step = level - 1
    if kind == "noise":
        drawn = generator.standard_normal(tuple(x_BCHW.shape), dtype=np.float32)
        return (x_BCHW + NOISE[step] * torch.from_numpy(drawn)).clamp(0, 1)
    if kind == "blur":
        from scipy.ndimage import gaussian_filter

        sigma = BLUR[step] * min(x_BCHW.shape[2:])
        blurred = gaussian_filter(x_BCHW.numpy(), (0, 0, sigma, sigma), mode="nearest")
        return torch.from_numpy(blurred).clamp(0, 1)
    if kind == "contrast":
        mean = x_BCHW.mean((2, 3), keepdim=True)
        return mean + CONTRAST[step] * (x_BCHW - mean)
    rows, columns = (_in_blocks(side, PIXELATE[step]) for side in x_BCHW.shape[2:])
    return (rows @ x_BCHW @ columns).clamp(0, 1)


def _in_blocks(side: int, share: float) -> Tensor:
    """What puts in place of each pixel of a line the mean of its block, (side, side)."""
    blocks = max(1, round(share * side))
    member = F.one_hot(torch.arange(side) * blocks // side, blocks).float()
    return member / member.sum(0) @ member.T


def check_unit_images(x: Tensor, normalisation: Normalisation) -> None:
    """See that what peers read are images in [0, 1] that were normalised.

    Raises InputError: they are not.
    """
    if x.ndim != 4:
        found = f"rows of shape {tuple(x.shape[1:])}"
        raise InputError(f"evaluation.corruption: is for images; peers read {found}. Leave it out")
    mean, std = _by_channel(normalisation)
    pixels = x * std + mean
    low, high = pixels.min().item(), pixels.max().item()
    if low < -_SLACK or high > 1 + _SLACK:
        raise InputError(
            f"evaluation.corruption: found images with values from {low:.3g} to {high:.3g}; "
            "allowed: uint8, or floats in [0, 1]"
        )


def _by_channel(normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    mean, std = (values.float().view(1, -1, 1, 1) for values in normalisation)
    return mean, std
