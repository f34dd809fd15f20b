"""Pairs the image files of a folder with their masks, by name."""

from pathlib import Path
from typing import NamedTuple

from peerlearn.data.image_folder import (
    GREY_MODES,
    SUFFIXES,
    ImageHeader,
    image_header,
    listed_files,
)
from peerlearn.errors import InputError, nearest

IMAGES, MASKS = "images", "masks"
MASK_MODES = (*GREY_MODES, "P")


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path

    def header(self) -> ImageHeader:
        """The image's header.

        Raises:
            InputError: either file is no image, the mask has colours, or sizes differ.
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


def paired_files(folder: Path) -> list[Pair]:
    """Every image of `folder/images` with its mask in `folder/masks`, sorted by name.

    Raises:
        InputError: no images, one without a mask, or a mask without an image; names both files.
    """
    images = _by_name(folder / IMAGES)
    masks = _by_name(folder / MASKS)
    for name, image in images.items():
        mask = folder / MASKS / f"{name}.png"
        if name not in masks:
            hint = _hint(name, masks)
            raise InputError(f"{image}: has no mask; expected {mask}.{hint}")
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
