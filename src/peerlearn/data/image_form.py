"""How image files become rows of one shape, and what is told of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.account import Account, LeftOut, counted, some
from peerlearn.data.images import ImageHeader, image_headers, opened_image, undecodable
from peerlearn.data.spec import Damaged, Fit, sides
from peerlearn.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

CHECKED_WHOLE = 2 * 1024**3
"""Bytes of decoded images up to which all pixels are looked at before anything is trained."""
LISTED = 20
"""Damaged files that a message lists."""


@dataclass(frozen=True)
class ImageForm:
    """How the images of a folder are read.

    Attributes:
        size: a side, or a height and a width, that they are fitted to; None expects one size.
        fit: how; see `fitted`.
        damaged: what happens to those that cannot be read.
        grey: one channel or three; None is one where all files are grey.
        measuring: rows are measured on, not trained on: without a test part all of them count.
    """

    size: int | tuple[int, int] | None = None
    fit: Fit = "crop"
    damaged: Damaged = "refuse"
    grey: bool | None = None
    measuring: bool = False


ANY_FORM = ImageForm()
"""Images as they are, all of one size."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files that decode to uint8 of one shape.

    Height and width are those of every decoded image.
    """

    paths: tuple[Path, ...]  # one file a row
    height: int
    width: int
    grey: bool  # decode to one channel, else to RGB; alpha is dropped
    fit: Fit = "crop"  # how images of another size are fitted to (height, width)

    @classmethod
    def of(cls, headers: Sequence[ImageHeader], form: ImageForm) -> Self:
        """Images of some headers; `InputError` where sizes differ and `form` has none."""
        height, width = sides(form.size) if form.size else common_size(headers)
        grey = all(header.grey for header in headers) if form.grey is None else form.grey
        return cls(tuple(it.path for it in headers), height, width, grey, form.fit)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W) of all images together."""
        return len(self.paths), 1 if self.grey else 3, self.height, self.width

    def decode(self, index: Sequence[int]) -> Tensor:
        """uint8 (B, C, H, W) of the images at `index`. `DamagedError` where one cannot be."""
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
            if pixels.size != (self.width, self.height):
                pixels = self._fitted(pixels)
        array = np.array(pixels).reshape(self.height, self.width, -1)
        return torch.from_numpy(array).permute(2, 0, 1)

    def _fitted(self, image: "PillowImage") -> "PillowImage":
        return fitted(image, (self.width, self.height), self.fit)


def fitted(image: "PillowImage", size: tuple[int, int], fit: Fit) -> "PillowImage":
    """An image brought to (width, height).

    `crop` scales it until it covers the size and cuts off what stands over, alike on both sides;
    `pad` scales it until it fits in and fills the rest with black; `resize` changes its
    proportions. All are bicubic, as timm's evaluation is.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    match fit:
        case "crop":
            return ImageOps.fit(image, size, Resampling.BICUBIC)
        case "pad":
            return ImageOps.pad(image, size, Resampling.BICUBIC)
        case "resize":
            return image.resize(size, Resampling.BICUBIC)


def sound_headers(
    paths: Sequence[Path], form: ImageForm, root: Path
) -> tuple[list[ImageHeader], Account]:
    """Headers of the images that can be read, and an account of what was left out of them.

    Files of which more pixels than `CHECKED_WHOLE` would come are not all decoded for it; see
    `undecodable`.

    Raises InputError: an image is damaged and `form` does not leave it out, which lists all that
    are, or too deep.
    """
    headers, damaged = image_headers(paths)
    if headers:
        area = [header.height * header.width for header in headers]
        pixels = math.prod(sides(form.size)) * len(area) if form.size else sum(area)
        damaged |= undecodable(headers, thoroughly=3 * pixels <= CHECKED_WHOLE)
    if damaged and form.damaged == "refuse":
        raise InputError("\n".join(_damage(list(damaged.values()))))
    sound = [header for header in headers if header.path not in damaged]
    if damaged and not sound:
        raise InputError(f"{root}: no image can be read.\n" + "\n".join(damaged.values()))
    return sound, left_out_damaged(list(damaged), root)


def left_out_damaged(paths: Sequence[Path], root: Path) -> Account:
    """What is told of damaged files that are left out."""
    names = tuple(path.relative_to(root).as_posix() for path in sorted(paths))
    return Account(left_out=(LeftOut("damaged", names),)) if names else Account()


def _damage(said: Sequence[str]) -> list[str]:
    more = len(said) - LISTED
    return [
        *said[:LISTED],
        *([f"… and {more:,} more images that cannot be read"] if more > 0 else []),
        f"{counted(len(said), 'damaged image')}: mend or remove, or say data.damaged=leave_out.",
    ]


def told_of(
    headers: Sequence[ImageHeader], files: ImageFiles, root: Path | None = None
) -> tuple[str, ...]:
    """Sentences about what becomes of images: fitted, made grey or coloured, of several pictures.

    `root` is what their names are relative to; None tells them as they are.
    """
    size = (files.width, files.height)
    other = [header for header in headers if (header.width, header.height) != size]
    notes = [_told_of_fit(other, size, files.fit)] if other else []
    grey = sum(header.grey for header in headers)
    if grey and not files.grey:
        notes.append(f"{counted(grey, 'grey image')} of {len(headers):,} read as RGB")
    if files.grey and grey < len(headers):
        coloured = counted(len(headers) - grey, "coloured image")
        notes.append(f"{coloured} of {len(headers):,} read as grey")
    if several := [_name(it.path, root) for it in headers if it.several]:
        notes.append(f"only the first picture (frame, page) is read of {some(several)}")
    return tuple(notes)


def _told_of_fit(headers: Sequence[ImageHeader], size: tuple[int, int], fit: Fit) -> str:
    """What the images that are of another size lose, or get, when they are fitted."""
    width, height = size
    # Proportions of an image in those of the size: 1 where both are alike.
    ratios = [(it.width * height) / (it.height * width) for it in headers]
    worst = max(range(len(headers)), key=lambda at: max(ratios[at], 1 / ratios[at]))
    stretch = max(ratios[worst], 1 / ratios[worst])
    of = f"a {headers[worst].width}×{headers[worst].height} image"
    begin = f"{counted(len(headers), 'image')} fitted to {width}×{height}"
    share = round(100 * (1 - 1 / stretch))
    match fit:
        case "crop":
            lost = f": up to {share} % of {of} is cut off" if share else ""
            return f"{begin}, centre-cropped (data.fit: crop){lost}"
        case "pad":
            black = f": up to {share} % of {of} is black border" if share else ""
            return f"{begin}, padded (data.fit: pad){black}"
        case "resize":
            wider = f": the sides of {of} change by a factor of {stretch:.2f}" if share else ""
            return f"{begin}, resized{wider}"


def _name(path: Path, root: Path | None) -> str:
    return str(path) if root is None else path.relative_to(root).as_posix()


def common_size(headers: Sequence[ImageHeader]) -> tuple[int, int]:
    """(height, width) of all images; `InputError` where they differ."""
    first = headers[0]
    for header in headers:
        if (header.height, header.width) != (first.height, first.width):
            raise InputError(
                f"{header.path}: {header.width}x{header.height} pixels, but {first.path} has "
                f"{first.width}x{first.height}; all images must have one size. "
                "data.size=PIXELS fits them to one; data.fit says how."
            )
    return first.height, first.width
