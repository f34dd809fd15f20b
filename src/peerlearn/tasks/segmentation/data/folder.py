"""Reads a folder of `images/` and `masks/`, of its own or in each of `train/`, `val/`, `test/`.

A mask is a PNG of one channel with the name of its image, `masks/a.png` for `images/a.jpg`: grey
or palette, whose values are label values. Every mask is looked through at the start, so that no
wrong label comes up in the middle of training; images are decoded when they are asked for.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.datasets import Source
from peerlearn.data.image_folder import (
    GREY_MODES,
    SUFFIXES,
    ImageFiles,
    ImageHeader,
    LazySplit,
    image_header,
    listed_files,
    opened_image,
    require_pillow,
)
from peerlearn.errors import InputError, nearest
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.labels import LabelTable, label_table
from peerlearn.tasks.segmentation.data.masks import IGNORED, MaskSplit

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

NAMES = "classes.txt"
PARTS = ("train", "val", "test")
IMAGES, MASKS = "images", "masks"
MASK_MODES = (*GREY_MODES, "P")


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path

    def header(self) -> ImageHeader:
        """The image's header.

        Raises InputError: either file is no image, the mask has colours, or sizes differ.
        """
        image, mask = image_header(self.image), image_header(self.mask)
        if mask.mode not in MASK_MODES:
            raise InputError(
                f"{self.mask}: colour mode {mask.mode}; allowed: a PNG of one channel (grey, "
                "palette or black and white) whose values are label values, 255 for pixels that "
                "do not count."
            )
        if (image.height, image.width) != (mask.height, mask.width):
            raise InputError(
                f"{self.mask}: {mask.width}x{mask.height} pixels, but its image {self.image} has "
                f"{image.width}x{image.height}."
            )
        return image


def read_mask_folder(
    folder: Path, size: int | tuple[int, int] | None = None, ignore: int | None = None
) -> Source[MaskSplit]:
    """Lazy splits of a folder of images and masks; missing splits are left to be held out.

    Args:
        folder: holds `train/images/` and `train/masks/`, and the same in `val/` and `test/`
            where they are given; or `images/` and `masks/`. A file `classes.txt` may name the
            label values from 0 on, one a line.
        size: to which images (bilinear) and masks (nearest) are resized; None expects all
            images to be of one size.
        ignore: label value that does not count; see `label_table`.

    Raises InputError: Pillow is missing, an image or a mask has no partner or another size than it,
    a file is damaged, in colours or too deep, or a label has no class.
    """
    require_pillow()
    pairs = _parts(folder)
    headers = [pair.header() for part in pairs.values() for pair in part]
    files = ResizedFiles.of(headers, size)
    values = {part: _label_values(pairs[part]) for part in pairs}
    where = str(pairs["train"][0].mask.parent)
    table = label_table(sorted(set().union(*values["train"])), _names(folder), ignore, where)

    def split(part: str) -> MaskSplit | None:
        if part not in pairs:
            return None
        images, masks = zip(*pairs[part], strict=True)
        for mask, found in zip(masks, values[part], strict=True):
            if unknown := table.unknown(sorted(found)):
                raise InputError(
                    f"{mask}: label {unknown[0]} is no class of train; allowed: {table.allowed}."
                )
        known = torch.tensor([any(table.table[list(found)] != IGNORED) for found in values[part]])
        if not bool(known.any()):
            raise InputError(f"{masks[0].parent}: no pixel has a label.")
        mask_files = MaskFiles(masks, files.height, files.width, table)
        return LazyMaskSplit(replace(files, paths=images), mask_files, known)

    train = split("train")
    assert train is not None
    return Source(train, split("val"), split("test"), table.classes, table.names)


def _parts(folder: Path) -> Mapping[str, list[Pair]]:
    if (folder / "train").is_dir():
        return {part: paired_files(folder / part) for part in PARTS if (folder / part).is_dir()}
    if (folder / MASKS).is_dir():
        return {"train": paired_files(folder)}
    raise InputError(
        f"{folder}: holds neither train/ nor {MASKS}/; expected train/images/ and train/masks/, "
        "and optionally the same in val/ and test/; or images/ and masks/."
    )


def _label_values(pairs: list[Pair]) -> list[set[int]]:
    """Which label values occur in each mask."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda pair: set(np.unique(read_labels(pair.mask)).tolist()), pairs))


def _names(folder: Path) -> tuple[str, ...] | None:
    path = folder / NAMES
    if not path.exists():
        return None
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}).") from error
    names = tuple(line.strip() for line in lines)
    for number, name in enumerate(names, 1):
        if not name or name in names[: number - 1]:
            what = "is empty" if not name else f"repeats {name!r}"
            raise InputError(f"{path}: line {number} {what}; expected a class name a line.")
    return names


def paired_files(folder: Path) -> list[Pair]:
    """Every image of `folder/images` with its mask in `folder/masks`, sorted by name.

    Raises InputError: no images, one without a mask, or a mask without an image; names both files.
    """
    images, masks = _by_name(folder / IMAGES), _by_name(folder / MASKS)
    for name, image in images.items():
        mask = folder / MASKS / f"{name}.png"
        if name not in masks:
            raise InputError(f"{image}: has no mask; expected {mask}.{_hint(name, masks)}")
        if masks[name].suffix.lower() != ".png":
            raise InputError(
                f"{masks[name]}: allowed for masks: PNG; JPEG changes label values. "
                f"Expected {mask} for {image}."
            )
    for name, mask in masks.items():
        if name not in images:
            hint = _hint(name, images)
            raise InputError(f"{mask}: has no image; expected {folder / IMAGES / name}.png.{hint}")
    return [Pair(image, masks[name]) for name, image in images.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    files = listed_files(folder) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder}: no images; allowed: {', '.join(SUFFIXES)}.")
    named: dict[str, Path] = {}
    for path in files:
        if path.stem in named:
            raise InputError(f"{path}: has the name of {named[path.stem]}; one of them must go.")
        named[path.stem] = path
    return named


def _hint(name: str, others: dict[str, Path]) -> str:
    match = nearest(name, others)
    return f" Did you mean {others[match]}?" if match else ""


class ResizedFiles(ImageFiles):
    """Image files that are resized where they have to fit; nothing is cut off."""

    def _fitted(self, pixels: "PillowImage") -> "PillowImage":
        from PIL.Image import Resampling

        return pixels.resize((self.width, self.height), Resampling.BILINEAR)


@dataclass(frozen=True)
class MaskFiles:
    """Mask files, one a row, that decode to classes, resized to one shape by nearest neighbour."""

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
        return replace(self, paths=tuple(self.paths[position] for position in index))


class LazyMaskSplit(LazySplit, MaskSplit):
    """A split whose images and masks are decoded when they are asked for.

    `known`, bool (N,), says which masks have a label; the others are not read.
    """

    mask_files: MaskFiles
    known: Tensor

    def __init__(self, files: ImageFiles, mask_files: MaskFiles, known: Tensor) -> None:
        # The parent is frozen, and its `x` and `y` are computed here.
        self.__dict__.update(files=files, mask_files=mask_files, known=known)

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

    def decoded(self) -> MaskSplit:
        return MaskSplit(self.x, self.y)


def read_labels(path: Path, size: tuple[int, int] | None = None) -> "np.ndarray":
    """Label values of a mask file, uint8 (H, W), resized to (width, height) where given.

    Raises InputError: it cannot be read as an image.
    """
    from PIL.Image import Resampling

    with opened_image(path) as image:
        if size is not None and image.size != size:
            image = image.resize(size, Resampling.NEAREST)
        return np.array(image).astype(np.uint8)
