"""Reads a folder `train/CLASS/*.png`, optionally beside `val/` and `test/` of the same classes.

Or `CLASS/*.png` alone. Sizes and colour modes are read from the headers of all files, and damaged
files are found, before anything is decoded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.account import Account, counted
from peerlearn.data.classes import in_order
from peerlearn.data.datasets import Source, Split
from peerlearn.data.folders import Scan
from peerlearn.data.image_form import ANY_FORM, ImageFiles, ImageForm, sound_headers, told_of
from peerlearn.data.images import ALLOWED, require_pillow
from peerlearn.errors import InputError, did_you_mean

T = TypeVar("T")
MEASURED_FILES = 10_000
ALL_MEASURED = "no test/: all images are measured on"
EXPECTED = (
    "expected train/CLASS/*.png, and optionally val/ and test/ of the same classes; or CLASS/*.png "
    "of at least two classes, of which parts are held out."
)


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

    def paths(self) -> Sequence[Path]:
        return self.files.paths

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


class Labelled(NamedTuple):
    """An image file and the number of its class."""

    path: Path
    label: int


def read_image_folder(folder: Path, form: ImageForm = ANY_FORM, least: int = 2) -> Source:
    """Lazy splits of a folder of images; a missing `val` or `test` is left to be held out.

    It holds `train/CLASS/*.png` (or what else Pillow reads, in subfolders of a class too), or
    `CLASS/*.png` alone, of at least `least` classes, sorted by name, or
    by number where all names are whole ones; `folders.PART_NAMES` has further names of parts. A
    folder to measure on may have `test` alone.

    Raises InputError: Pillow is missing, a folder lacks images or names an unknown class, an image
    is damaged or too deep, or sizes differ.
    """
    require_pillow()
    scan = Scan(folder)
    names, listed = _listed(scan, form.measuring, least)
    paths = [file.path for files in listed.values() for file in files]
    headers, damage = sound_headers(paths, form, folder)
    sound = {header.path for header in headers}
    listed = {
        part: [file for file in files if file.path in sound] for part, files in listed.items()
    }
    _check_left(folder, names, listed)
    files = ImageFiles.of(headers, form)
    counts = {part: len(found) for part, found in listed.items()}
    if form.measuring and "test" not in listed:
        scan.notes.append(ALL_MEASURED)
    notes = told_of(headers, files, folder)
    account = Account(counts) + scan.account + damage + Account(notes=notes)

    splits: dict[str, Split] = {}
    for part, found in measured_parts(listed, form.measuring).items():
        places, labels = zip(*found, strict=True)
        splits[part] = LazySplit(replace(files, paths=places), torch.tensor(labels))
    held = splits.get("val"), splits.get("test")
    return Source(splits["train"], *held, len(names), names, account=account)


def measured_parts(listed: Mapping[str, list[T]], measuring: bool) -> Mapping[str, list[T]]:
    """What is read of every part; where that is to be measured on, there is a test part."""
    if not measuring:
        return listed
    test = listed.get("test") or [file for files in listed.values() for file in files]
    return {"train": test, "val": test, **listed, "test": test}


def _listed(
    scan: Scan, measuring: bool, least: int
) -> tuple[tuple[str, ...], dict[str, list[Labelled]]]:
    """The names of the classes, and the images of every part."""
    folder, parts = scan.root, scan.parts()
    if parts and "train" not in parts and not (measuring and "test" in parts):
        raise InputError(f"{folder}: this folder has no train/; {EXPECTED}")
    first = parts.get("train") or parts.get("test") or folder
    names = tuple(in_order(path.name for path in scan.folders(first)))
    if not parts:
        inner = [path for path in scan.folders(folder) if (path / "train").is_dir()]
        if inner or len(names) < least:
            hint = f" Did you mean {inner[0]}?" if inner else ""
            raise InputError(f"{folder}: this folder has no train/; {EXPECTED}{hint}")
        scan.notes.append("no train/: the folders are the classes")
    elif len(names) < least:
        raise InputError(
            f"{folder}: expected train/CLASS/*.png with at least {least} classes; "
            f"found {len(names)} class folders in {first}."
        )
    listed = {
        part: _labelled_files(scan, place, names)
        for part, place in (parts or {"train": folder}).items()
    }
    deep = sum(file.path.parent.parent not in {*parts.values(), folder}
               for files in listed.values() for file in files)  # fmt: skip
    if deep:
        scan.notes.append(f"{counted(deep, 'image')} in subfolders of classes count to the class")
    return names, listed


def _labelled_files(scan: Scan, folder: Path, names: Sequence[str]) -> list[Labelled]:
    """Every image below the class folders of `folder`."""
    files: list[Labelled] = []
    for class_folder in scan.folders(folder):
        if class_folder.name not in names:
            hint = did_you_mean(class_folder.name, names)
            raise InputError(f"{class_folder}: not a class of train.{hint}")
        images = scan.images(class_folder)
        if not images:
            raise InputError(f"{class_folder}: no images; allowed: {ALLOWED}.")
        files += [Labelled(path, names.index(class_folder.name)) for path in images]
    for path in scan.files(folder):
        scan.leave_out(path, "beside the class folders")
    if not files:
        raise InputError(f"{folder}: no class folders with images.")
    return files


def _check_left(
    folder: Path, names: Sequence[str], listed: Mapping[str, Sequence[Labelled]]
) -> None:
    """InputError where damaged images leave nothing of a class that is trained on, or of a part."""
    first = next(iter(listed))
    for label in set(range(len(names))) - {file.label for file in listed[first]}:
        raise InputError(f"{folder}: no image of class {names[label]!r} in {first} can be read.")
    for part, files in listed.items():
        if not files:
            raise InputError(f"{folder}: no image of {part} can be read.")
