"""Reads a folder `train/CLASS/*.png`, optionally beside `val/` and `test/` of the same classes.

Only file headers are read at first: sizes and colour modes are checked before any decoding.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.classes import in_order
from peerlearn.data.datasets import Source, Split
from peerlearn.data.spec import sides
from peerlearn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = (".png", ".jpg", ".jpeg")
MEASURED_FILES = 10_000
PARTS = ("train", "val", "test")
GREY_MODES = ("1", "L")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class ImageFiles:
    """Image files that decode to uint8 of one shape.

    Height and width are those of every decoded image.
    """

    paths: tuple[Path, ...]  # one file a row
    height: int
    width: int
    grey: bool  # decode to one channel, else to RGB; alpha is dropped
    fit: bool  # scale and centre-crop to (height, width) instead of expecting it

    @classmethod
    def of(
        cls, headers: "Sequence[ImageHeader]", size: int | tuple[int, int] | None = None
    ) -> Self:
        """Images fitted to a side, or a height and a width; None expects them to be of one size."""
        height, width = sides(size) if size else common_size(headers)
        grey = all(header.mode in GREY_MODES for header in headers)
        return cls(tuple(it.path for it in headers), height, width, grey, size is not None)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W) of all images together."""
        return len(self.paths), 1 if self.grey else 3, self.height, self.width

    def decode(self, index: Sequence[int]) -> Tensor:
        """uint8 (B, C, H, W) of the images at `index`."""
        images = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        for row, position in enumerate(index):
            images[row] = self._decode(self.paths[position])
        return images

    def select(self, index: Sequence[int]) -> Self:
        """The files at `index`."""
        return replace(self, paths=tuple(self.paths[position] for position in index))

    def _decode(self, path: Path) -> Tensor:
        with opened_image(path) as image:
            pixels = image.convert("L" if self.grey else "RGB")
            if self.fit:
                pixels = self._fitted(pixels)
        array = np.array(pixels).reshape(self.height, self.width, -1)
        return torch.from_numpy(array).permute(2, 0, 1)

    def _fitted(self, pixels: "PillowImage") -> "PillowImage":
        from PIL import ImageOps
        from PIL.Image import Resampling

        return ImageOps.fit(pixels, (self.width, self.height), Resampling.BICUBIC)


class LazySplit(Split):
    """A split whose rows stay in their files until they are asked for."""

    def __init__(self, files: ImageFiles, y: Tensor) -> None:
        # The parent is frozen; its `x` is computed here, so only these two are stored.
        object.__setattr__(self, "files", files)
        object.__setattr__(self, "y", y)

    files: ImageFiles

    @property
    def x(self) -> Tensor:
        """All rows, decoded anew at every access; `rows` decodes some."""
        return self.files.decode(range(len(self)))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.files.shape[1:]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.files.shape))

    def rows(self, index: Tensor) -> Tensor:
        return self.files.decode(index.tolist())

    def measured_rows(self) -> Tensor:
        """About `MEASURED_FILES` evenly spaced rows, where there are more.

        To decode every file before the first step would take as long as an epoch.
        """
        return torch.arange(0, len(self), max(1, len(self) // MEASURED_FILES))

    def select(self, index: Tensor) -> Self:
        return type(self)(self.files.select(index.tolist()), self.y[index])

    def with_labels(self, y: Tensor) -> Self:
        return type(self)(self.files, y)

    def decoded(self) -> Split:
        return Split(self.x, self.y)


@dataclass(frozen=True)
class ImageHeader:
    """Size and colour mode of an image file."""

    path: Path
    height: int
    width: int
    mode: str


def read_image_folder(folder: Path, size: int | None = None, least: int = 2) -> Source:
    """Lazy splits of a folder of images; a missing `val` or `test` is left to be held out.

    It holds `train/CLASS/*.png` (or .jpg, .jpeg), of at least `least` classes, sorted by name;
    where all names are whole numbers, by these.
    `size` is as for `ImageFiles.of`.

    Raises InputError: Pillow is missing, a folder lacks images or names an unknown class, an image
    is damaged or too deep, or sizes differ.
    """
    require_pillow()
    names = tuple(in_order(path.name for path in _folders(folder / "train")))
    if len(names) < least:
        raise InputError(
            f"{folder}: expected train/CLASS/*.png with at least {least} classes; "
            f"found {len(names)} class folders in {folder / 'train'}."
        )
    listed = {part: _labelled_files(folder / part, names) for part in PARTS}
    files = ImageFiles.of([image_header(path) for part in PARTS for path, _ in listed[part]], size)

    splits: dict[str, Split] = {}
    for part, content in listed.items():
        if content:
            paths, labels = zip(*content, strict=True)
            splits[part] = LazySplit(replace(files, paths=paths), torch.tensor(labels))
    return Source(splits["train"], splits.get("val"), splits.get("test"), len(names), names)


def _labelled_files(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """Every image below `folder` with its class; empty where there is no such folder."""
    if not folder.exists():
        return []
    files: list[tuple[Path, int]] = []
    for class_folder in _folders(folder):
        if class_folder.name not in names:
            hint = did_you_mean(class_folder.name, names)
            raise InputError(f"{class_folder}: not a class of train.{hint}")
        images = listed_files(class_folder)
        if not images:
            raise InputError(f"{class_folder}: no images; allowed: {', '.join(SUFFIXES)}.")
        files += [(path, names.index(class_folder.name)) for path in images]
    if not files:
        raise InputError(f"{folder}: no class folders with images.")
    return files


def listed_files(folder: Path, pattern: str = "*") -> list[Path]:
    """Images of a folder that fit a pattern, sorted by path; hidden ones are left out."""
    shown = (path for path in folder.glob(pattern) if not path.name.startswith("."))
    return sorted(path for path in shown if path.suffix.lower() in SUFFIXES)


def images_below(folder: Path) -> list[Path]:
    """Every image of a folder, also in subfolders; `InputError` where there is none."""
    found = listed_files(folder, "**/*")
    if not found:
        raise InputError(f"{folder}: no images in this folder; allowed: {', '.join(SUFFIXES)}")
    return found


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def image_header(path: Path) -> ImageHeader:
    """The header of an image file; its pixels are not decoded.

    Raises InputError: not an image, or more than 8 bits a channel.
    """
    with opened_image(path) as image:
        if image.mode in DEEP_MODES:
            raise InputError(
                f"{path}: colour mode {image.mode}, more than 8 bits a channel; "
                "convert it to 8 bits, or use an .npz of floats."
            )
        return ImageHeader(path, image.height, image.width, image.mode)


def common_size(headers: Sequence[ImageHeader]) -> tuple[int, int]:
    """(height, width) of all images; `InputError` where they differ."""
    first = headers[0]
    for header in headers:
        if (header.height, header.width) != (first.height, first.width):
            raise InputError(
                f"{header.path}: {header.width}x{header.height} pixels, but {first.path} has "
                f"{first.width}x{first.height}; all images must have one size. "
                "data.size=PIXELS fits them to a square."
            )
    return first.height, first.width


@contextmanager
def opened_image(path: Path) -> "Iterator[PillowImage]":
    """An image whose pixels are decoded on first use.

    Raises InputError: it cannot be read, here or while the block decodes it.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as an image ({error}).") from error


def require_pillow() -> None:
    """Raise `InputError` with the pip command where Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise InputError("reading images needs Pillow: pip install 'peerlearn[image]'") from None
