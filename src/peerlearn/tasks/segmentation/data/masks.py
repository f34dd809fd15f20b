"""Images with a mask each: split, data set, and what networks must know of it.

Shape suffixes: N images, C channels, L labels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.data.datasets import Dataset, Split
from peerlearn.data.info import RowInfo
from peerlearn.objectives.labels import UNLABELLED

IGNORED = 255
"""Marks a pixel that does not count, in stored masks."""


class MaskSplit(Split):
    """Images and their masks; every pixel is a row to learn from.

    Masks are stored in a byte a pixel, and `targets` gives them as objectives read them.

    Shapes:
        x: (N, C, H, W), uint8 or float32.
        y: uint8 (N, H, W), the class of each pixel, or `IGNORED`; or for masks that overlap,
            (N, L, H, W) of 0, 1 and `IGNORED`.
    """

    @property
    def strata(self) -> Tensor:
        """int64 (N,): 0 for images with a labelled pixel, `UNLABELLED` for those with none."""
        return any_labelled(self.y).long() + UNLABELLED

    def masks(self, index: Tensor) -> Tensor:
        """Stored masks of the images at `index`."""
        return self.y.index_select(0, index)

    def targets(self, index: Tensor) -> Tensor:
        return as_targets(self.masks(index))

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.y.nbytes

    @property
    def _blank(self) -> float:
        return IGNORED


@dataclass(frozen=True)
class SegmentationDataset(Dataset):
    """A training, a validation and a test split of images with masks over one set of classes."""

    train: MaskSplit
    val: MaskSplit
    test: MaskSplit


class SegmentationInfo(RowInfo):
    """What holds of images with masks; `classes` leaves out labels that are ignored."""

    sample_shape: tuple[int, int, int]  # of one image, (C, H, W)

    @property
    def channels(self) -> int:
        """How many numbers a pixel has."""
        return self.sample_shape[0]

    @property
    def content(self) -> str:
        return f"masks of images of {'×'.join(map(str, self.sample_shape))}"


def as_targets(masks: Tensor) -> Tensor:
    """Targets of stored masks.

    Shapes:
        masks: uint8 (B, H, W) or (B, L, H, W).
        Returns int64 (B, H, W), `UNLABELLED` where a pixel does not count; or float32
            (B, L, H, W) of 0 and 1, NaN there.
    """
    if masks.ndim == 3:
        return masks.long().masked_fill_(masks == IGNORED, UNLABELLED)
    return masks.float().masked_fill_(masks == IGNORED, torch.nan)


def any_labelled(masks: Tensor) -> Tensor:
    """Which masks have a labelled pixel, bool (N,); of several labels, all must be known."""
    known = masks != IGNORED
    return (known.all(1) if masks.ndim == 4 else known).flatten(1).any(1)
