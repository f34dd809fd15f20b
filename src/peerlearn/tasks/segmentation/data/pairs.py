"""Which image has which mask, in a folder of `images/` and `masks/`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from peerlearn.data.folders import Scan
from peerlearn.data.images import ALLOWED, ImageHeader
from peerlearn.errors import Faults, InputError, nearest
from peerlearn.tasks.segmentation.data.mask_pixels import LookedAt, colour_faults

NAMES = "classes.txt"
IMAGES, MASKS = "images", "masks"
EXACT = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".pbm")
"""Suffixes of formats that keep label values."""


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


def listed_pairs(scan: Scan, measuring: bool) -> dict[str, list[Pair]]:
    """The pairs of every part of a folder; of one without parts, those of `train`.

    Raises InputError: no such folders, or as `paired_files`.
    """
    folder, parts = scan.root, scan.parts(known=(NAMES,))
    if "train" in parts or (measuring and "test" in parts):
        return {part: paired_files(scan, place) for part, place in parts.items()}
    if not parts and (folder / MASKS).is_dir():
        for path in (*scan.folders(folder), *scan.files(folder)):
            if path.name not in (IMAGES, MASKS, NAMES):
                scan.leave_out(path, f"beside {IMAGES}/ and {MASKS}/")
        return {"train": paired_files(scan, folder)}
    raise InputError(
        f"{folder}: holds neither train/ nor {MASKS}/; expected train/images/ and train/masks/, "
        "and optionally the same in val/ and test/; or images/ and masks/."
    )


def paired_files(scan: Scan, folder: Path) -> list[Pair]:
    """Every image below `folder/images` with its mask in `folder/masks`, sorted by name.

    Raises InputError: no images, one without a mask, or a mask without an image; names both files.
    """
    images, masks = _by_name(scan, folder / IMAGES), _by_name(scan, folder / MASKS)
    for name, image in images.items():
        mask = folder / MASKS / f"{name}.png"
        if name not in masks:
            alone = {other: path for other, path in masks.items() if other not in images}
            raise InputError(f"{image}: has no mask; expected {mask}.{_hint(name, alone)}")
        if masks[name].suffix.lower() not in EXACT:
            raise InputError(
                f"{masks[name]}: allowed for masks: PNG, BMP, GIF, TIFF; JPEG changes label "
                f"values. Expected {mask} for {image}."
            )
    for name, mask in masks.items():
        if name not in images:
            hint = _hint(name, images)
            raise InputError(f"{mask}: has no image; expected {folder / IMAGES / name}.png.{hint}")
    return [Pair(image, masks[name]) for name, image in images.items()]


def _by_name(scan: Scan, folder: Path) -> dict[str, Path]:
    """The images below a folder by their path in it without suffix."""
    files = scan.images(folder) if folder.is_dir() else []
    if not folder.is_dir():
        beside = ", ".join(f"{path.name}/" for path in scan.folders(folder.parent)) or "nothing"
        raise InputError(f"{folder}: no such folder; {folder.parent} has {beside}.")
    if not files:
        raise InputError(f"{folder}: no images; allowed: {ALLOWED}.")
    named: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in named:
            raise InputError(f"{path}: has the name of {named[name]}; one of them must go.")
        named[name] = path
    return named


def _hint(name: str, others: Mapping[str, Path]) -> str:
    longer = (other for other in others if re.fullmatch(rf"{re.escape(name)}[-_. ]\w+", other))
    match = next(longer, None) or nearest(name, others)
    return f" Did you mean {others[match]}?" if match else ""


def check_pairs(
    pairs: list[Pair], headers: Mapping[Path, ImageHeader], looked: Mapping[Path, LookedAt]
) -> None:
    """Masks have one channel, or equal ones, and the size of their images.

    Raises InputError: lists every mask with colours or of another size.
    """
    faults = Faults()
    for pair in pairs:
        image, mask = headers[pair.image], headers[pair.mask]
        if (image.height, image.width) != (mask.height, mask.width):
            faults.said.append(
                f"{mask.path}: {mask.width}x{mask.height} pixels, but its image {image.path} "
                f"has {image.width}x{image.height}."
            )
    faults.said += colour_faults(looked)
    faults.check()
