"""Training batches of images with masks: random changes of images and, alike, of their masks.

One formula says where every output pixel lies in its image: window, quarter turns, mirrors, angle
and magnification all are part of it. Without angle and magnification these are centres of pixels,
and values are moved unchanged; otherwise images are sampled bilinearly, and masks always by
nearest neighbour. What lies outside is reflected in the image and ignored in the mask.

Shape suffixes: B batch, C channels, L labels, H height, W width, h and w those of the output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.data.augment import Normalisation, gathered, reflected, reflected_pixels
from peerlearn.data.datasets import Batch
from peerlearn.data.loaders import Batches, check_views
from peerlearn.data.order import batch_order
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.segmentation.data.masks import (
    IGNORED,
    MaskSplit,
    SegmentationDataset,
    as_targets,
)
from peerlearn.tasks.segmentation.data.spec import SegmentAugmentSpec


class GeometricDraws(NamedTuple):
    """One uniform number in [0, 1) per image for each thing that can be random, each (B,)."""

    start_y: Tensor
    start_x: Tensor
    mirror_x: Tensor
    mirror_y: Tensor
    quarter: Tensor
    angle: Tensor
    scale: Tensor

    @classmethod
    def of(cls, batch: int, generator: torch.Generator) -> "GeometricDraws":
        """As many numbers whatever is switched on, so that no option reshuffles another."""
        return cls(*torch.rand(len(cls._fields), batch, generator=generator))


class Places(NamedTuple):
    """Where each output pixel lies in its image, float32 (B, h, w) in pixels: the first at 0.5."""

    y: Tensor
    x: Tensor


def check_segment_augment(spec: SegmentAugmentSpec, sample_shape: Sequence[int]) -> None:
    """Refuse augmentation that the images cannot take: quarter turns of what is not square."""
    height, width = spec.window(*sample_shape[1:])
    if spec.rotate90 and height != width:
        raise InputError(
            f"augment.rotate90: images of {height}x{width} have another shape after a quarter "
            "turn; allowed with augment.crop=SIDE, which cuts out squares."
        )


def drawn_places(
    spec: SegmentAugmentSpec, height: int, width: int, draws: GeometricDraws
) -> Places:
    """Where the pixels of each output lie in images of the given height and width.

    With p the output pixel seen from the centre of the window, q quarter turns, M mirrors, θ the
    angle and s the magnification, the place is c + R(θ) R(90° q) M p / s, where the window's
    centre c is random within the image.
    """
    window = spec.window(height, width)
    device = draws.angle.device
    down_h1, right_1w = (torch.arange(side, device=device) + 0.5 - side / 2 for side in window)
    down_B11 = _signs(spec.flip_vertical, draws.mirror_y)
    right_B11 = _signs(spec.flip, draws.mirror_x)
    down_Bh1, right_B1w = down_B11 * down_h1[:, None], right_B11 * right_1w[None, :]
    cos_B11, sin_B11 = _quarter_turns(spec.rotate90, draws.quarter)
    down_Bhw = cos_B11 * down_Bh1 + sin_B11 * right_B1w
    right_Bhw = cos_B11 * right_B1w - sin_B11 * down_Bh1
    scale_B = torch.ones_like(draws.scale)
    if _warps(spec):
        smallest, largest = spec.scale
        scale_B = smallest * (largest / smallest) ** draws.scale
        angle_B11 = ((2 * draws.angle - 1) * math.radians(spec.rotation))[:, None, None]
        cos_B11, sin_B11 = angle_B11.cos(), angle_B11.sin()
        down_Bhw, right_Bhw = (
            (cos_B11 * down_Bhw + sin_B11 * right_Bhw) / scale_B[:, None, None],
            (cos_B11 * right_Bhw - sin_B11 * down_Bhw) / scale_B[:, None, None],
        )
    return Places(
        down_Bhw + _centre(height, window[0] / scale_B, draws.start_y)[:, None, None],
        right_Bhw + _centre(width, window[1] / scale_B, draws.start_x)[:, None, None],
    )


def moved_images(
    x_BCHW: Tensor, places: Places, spec: SegmentAugmentSpec, normalisation: Normalisation
) -> Tensor:
    """Images at `places`, normalised, float32 (B, C, h, w); outside, their reflection."""
    height, width = x_BCHW.shape[2:]
    if not _warps(spec):
        return normalisation.apply(_nearest(x_BCHW, places))
    # Grid coordinates run from -1 to 1 between the edges of the image.
    right_Bhw = 2 * reflected(places.x, width) / width - 1
    down_Bhw = 2 * reflected(places.y, height) / height - 1
    grid_Bhw2, x_BCHW = torch.stack([right_Bhw, down_Bhw], dim=3), normalisation.apply(x_BCHW)
    return F.grid_sample(x_BCHW, grid_Bhw2, padding_mode="border", align_corners=False)


def moved_masks(masks: Tensor, places: Places) -> Tensor:
    """Stored masks at `places` by nearest neighbour; outside, `IGNORED`.

    Shapes:
        masks: uint8 (B, H, W) or (B, L, H, W).
        Returns uint8 (B, h, w) or (B, L, h, w).
    """
    height, width = masks.shape[-2:]
    inside_Bhw = (places.y >= 0) & (places.y < height) & (places.x >= 0) & (places.x < width)
    masks_BLHW = masks[:, None] if masks.ndim == 3 else masks
    moved_BLhw = _nearest(masks_BLHW, places).masked_fill_(~inside_Bhw[:, None], IGNORED)
    return moved_BLhw[:, 0] if masks.ndim == 3 else moved_BLhw


def recoloured(x_BCHW: Tensor, spec: SegmentAugmentSpec, generator: torch.Generator) -> Tensor:
    """Normalised images under a random contrast c and brightness b: m + c (x − m) + b.

    m is the mean of the image over pixels and channels. Every call draws the same amount.
    """
    draws_2B = torch.rand(2, len(x_BCHW), generator=generator).to(x_BCHW.device)
    contrast_B, brightness_B = 2 * draws_2B - 1
    if not spec.contrast and not spec.brightness:
        return x_BCHW
    factor_B111 = (1 + spec.contrast * contrast_B).view(-1, 1, 1, 1)
    mean_B111 = x_BCHW.mean((1, 2, 3), keepdim=True)
    shift_B111 = (spec.brightness * brightness_B).view(-1, 1, 1, 1)
    return x_BCHW * factor_B111 + (mean_B111 * (1 - factor_B111) + shift_B111)


def _warps(spec: SegmentAugmentSpec) -> bool:
    """Whether places fall between the centres of pixels."""
    return spec.rotation > 0 or spec.scale != (1.0, 1.0)


def _nearest(x_BCHW: Tensor, places: Places) -> Tensor:
    height, width = x_BCHW.shape[2:]
    return gathered(x_BCHW, reflected_pixels(places.y, height), reflected_pixels(places.x, width))


def _centre(length: int, window_B: Tensor, draw_B: Tensor) -> Tensor:
    """Centre of a window at a random place; a window larger than the image holds all of it."""
    slack_B = length - window_B
    steps_B = torch.minimum((draw_B * (slack_B.abs() + 1)).floor(), slack_B.abs())
    return steps_B * slack_B.sign() + window_B / 2


def _signs(on: bool, draw_B: Tensor) -> Tensor:
    """-1 for images to be mirrored, half of them, and 1 for the others, (B, 1, 1)."""
    return 1.0 - 2.0 * ((draw_B < 0.5) & on).float()[:, None, None]


def _quarter_turns(on: bool, draw_B: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 0, 90, 180 or 270 degrees, exactly, each (B, 1, 1)."""
    turns_B = (4 * draw_B).long() * on
    table = torch.tensor([1.0, 0.0, -1.0, 0.0], device=draw_B.device)
    cos_B, sin_B = table[turns_B], table[(turns_B - 1) % 4]
    return cos_B[:, None, None], sin_B[:, None, None]


@dataclass(frozen=True)
class MaskBatchMaker:
    """Turns row numbers into a batch of views, moved alike, so that a pixel has one target.

    Raises InputError: changes that the images cannot take, or no view.
    """

    split: MaskSplit
    seed: int
    spec: SegmentAugmentSpec
    normalisation: Normalisation
    views: int

    def __post_init__(self) -> None:
        check_segment_augment(self.spec, self.split.sample_shape)
        check_views(self.views)

    def __call__(self, epoch: int, step: int, index: Tensor) -> Batch:
        rows, (height, width) = self.split.rows(index), self.split.sample_shape[1:]
        generator = keyed_generator(self.seed, "augment", epoch, step, "geometry")
        draws = GeometricDraws.of(len(index), generator)
        places = drawn_places(self.spec, height, width, draws)
        moved = moved_images(rows, places, self.spec, self.normalisation)
        views = (
            recoloured(moved, self.spec, keyed_generator(self.seed, "augment", epoch, step, view))
            for view in range(self.views)
        )
        targets = as_targets(moved_masks(self.split.masks(index), places))
        return Batch(tuple(views), targets, index)


def segmentation_loader(
    data: SegmentationDataset,
    batch_size: int,
    seed: int,
    augment: SegmentAugmentSpec | None = None,
    views: int = 1,
    labelled_per_batch: int = 0,
    workers: int = 0,
) -> Batches:
    """Batches of `data.train`, made by workers where `data.in_memory` is false.

    Arguments and errors are those of `ArrayLoader`; views that no colours tell apart are one
    tensor, and an image with a labelled pixel is a labelled row.
    """
    order = batch_order(data.train.strata, batch_size, seed, labelled_per_batch=labelled_per_batch)
    normalisation = Normalisation.of(data.mean, data.std)
    make = MaskBatchMaker(data.train, seed, augment or SegmentAugmentSpec(), normalisation, views)
    return Batches(order, make, 0 if data.in_memory else workers)
