"""Small scenes that need no file: scikit-learn's digits, strewn over a noisy canvas."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.data.datasets import Source, Split
from peerlearn.data.registry import read_digits
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.segmentation.data.masks import MaskSplit

SCENES = {"train": 300, "val": 60, "test": 100}
SIDE = 48
DIGITS = 3
SMALLEST, LARGEST = 12, 20
INK = 0.35
"""Part of the full ink from which a pixel belongs to its digit."""
DIMMEST = 0.7
"""Least part of its ink that a digit is drawn with."""
NOISE = 0.1
CLASSES = ("background", "even", "odd")


@cache  # every arm that is validated asks for them
def digits_scenes() -> Source[MaskSplit]:
    """460 grey scenes of 48x48 pixels with three digits each, some of them over others.

    A digit of 8x8 pixels is magnified to a side of 12 to 20, dimmed at random and laid at a
    random place; noise is added to all pixels. Every pixel is background, or part of an even or
    of an odd digit. The digits of train, val and test are those of the data set `digits`, so no
    scene shows a digit of another split. The scenes are the same for every seed.
    """
    digits = read_digits()
    splits = {}
    for part, split in zip(SCENES, digits[:3], strict=True):
        assert isinstance(split, Split)
        splits[part] = _scenes(split, SCENES[part], part)
    return Source(splits["train"], splits["val"], splits["test"], len(CLASSES), CLASSES)


def _scenes(digits: Split, count: int, part: str) -> MaskSplit:
    generator = keyed_generator(0, "digits-scenes", part)
    ink = digits.x.float() / 255
    parity = 1 + digits.y % 2
    canvas, masks = torch.zeros(count, SIDE, SIDE), torch.zeros(count, SIDE, SIDE).byte()
    chosen = torch.randint(len(digits), (count, DIGITS), generator=generator)
    draws = torch.rand(count, DIGITS, 4, generator=generator)
    for scene in range(count):
        for digit, draw in zip(chosen[scene].tolist(), draws[scene].tolist(), strict=True):
            _lay(canvas[scene], masks[scene], ink[digit], int(parity[digit]), *draw)
    canvas += NOISE * torch.randn(canvas.shape, generator=generator)
    # A margin below and above keeps the noise of black and of white pixels.
    grey = ((canvas + 0.5) / 2).clamp(0, 1).mul(255).round().byte()
    return MaskSplit(grey[:, None], masks)


def _lay(
    canvas: Tensor, mask: Tensor, ink: Tensor, label: int,
    size: float, down: float, right: float, light: float,
) -> None:  # fmt: skip
    """Draw a digit (1, 8, 8) into canvas and mask, in place; the numbers are uniform in [0, 1)."""
    side = SMALLEST + int(size * (LARGEST - SMALLEST + 1))
    top, left = (int(draw * (SIDE - side + 1)) for draw in (down, right))
    rows, columns = slice(top, top + side), slice(left, left + side)
    large = F.interpolate(ink[None], (side, side), mode="bilinear")[0, 0]
    inked = large >= INK
    canvas[rows, columns][inked] = large[inked] * (DIMMEST + (1 - DIMMEST) * light)
    mask[rows, columns][inked] = label
