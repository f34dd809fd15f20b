"""Images and masks that stay in their files until they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.image_folder import ImageFiles, LazySplit, opened_image
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.labels import LabelTable
from peerlearn.tasks.segmentation.data.masks import IGNORED, MaskSplit

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage


class ResizedFiles(ImageFiles):
    """Image files that are resized where they have to fit; nothing is cut off."""

    def _fitted(self, pixels: "PillowImage") -> "PillowImage":
        from PIL.Image import Resampling

        return pixels.resize((self.width, self.height), Resampling.BILINEAR)


@dataclass(frozen=True)
class MaskFiles:
    """Mask files that decode to classes, resized to one shape by nearest neighbour.

    Attributes:
        paths: one file a row.
        height, width: of every decoded mask.
        table: which class each value in the files is.
    """

    paths: tuple[Path, ...]
    height: int
    width: int
    table: LabelTable

    def decode(self, index: Sequence[int]) -> Tensor:
        """uint8 (B, H, W) of the masks at `index`."""
        size = (self.width, self.height)
        labels = torch.empty(len(index), self.height, self.width, dtype=torch.uint8)
        for row, position in enumerate(index):
            labels[row] = torch.from_numpy(read_labels(self.paths[position], size))
        return self.table.classes_of(labels)

    def select(self, index: Sequence[int]) -> "MaskFiles":
        """The files at `index`."""
        return replace(self, paths=tuple(self.paths[position] for position in index))


class LazyMaskSplit(LazySplit, MaskSplit):
    """A split whose images and masks are decoded when they are asked for.

    Args:
        files: the images.
        mask_files: the mask of each.
        known: bool (N,), whether the mask has a label; where not, it is not read.
    """

    def __init__(self, files: ImageFiles, mask_files: MaskFiles, known: Tensor) -> None:
        # The parent is frozen, and its `x` and `y` are computed here.
        object.__setattr__(self, "files", files)
        object.__setattr__(self, "mask_files", mask_files)
        object.__setattr__(self, "known", known)

    mask_files: MaskFiles
    known: Tensor

    def __len__(self) -> int:
        return len(self.known)

    @property
    def y(self) -> Tensor:
        """All masks, decoded anew at every access; `masks` decodes some."""
        return self.masks(torch.arange(len(self)))

    @property
    def strata(self) -> Tensor:
        return self.known.long() + UNLABELLED

    @property
    def nbytes(self) -> int:
        images, channels, height, width = self.files.shape
        return images * (channels + 1) * height * width

    def masks(self, index: Tensor) -> Tensor:
        masks = torch.full((len(index), *self.files.shape[2:]), IGNORED, dtype=torch.uint8)
        known = self.known[index]
        masks[known] = self.mask_files.decode(index[known].tolist())
        return masks

    def select(self, index: Tensor) -> Self:
        rows = index.tolist()
        return type(self)(self.files.select(rows), self.mask_files.select(rows), self.known[index])

    def labelled_only(self, index: Tensor) -> Self:
        kept = torch.zeros_like(self.known)
        kept[index] = self.known[index]
        return type(self)(self.files, self.mask_files, kept)

    def with_labels(self, y: Tensor) -> Self:
        """Refused: the masks are files."""
        raise TypeError("the masks of this split are files; decode it first")

    def decoded(self) -> MaskSplit:
        return MaskSplit(self.x, self.y)


def read_labels(path: Path, size: tuple[int, int] | None = None) -> "np.ndarray":
    """Label values of a mask file, uint8 (H, W), resized to (width, height) where given.

    Raises:
        InputError: it cannot be read as an image.
    """
    from PIL.Image import Resampling

    with opened_image(path) as image:
        if size is not None and image.size != size:
            image = image.resize(size, Resampling.NEAREST)
        return np.array(image).astype(np.uint8)
