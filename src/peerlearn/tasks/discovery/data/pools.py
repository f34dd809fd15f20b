"""Reads a file or a folder that holds the labelled or the unlabelled rows alone.

An `.npz` has `x` or `x_train`, with labels `y` or `y_train`, and optionally `x_val, y_val`,
`x_test, y_test` and `class_names`; layouts are those of `peerlearn.data.arrays`. A folder has
`train/CLASS/*.png`, optionally beside `val/` and `test/`, or `CLASS/*.png`; a folder of unlabelled
images without `train/CLASS` may be of any form, and every image below it counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.arrays import KEYS, Array, read_rows, read_targets
from peerlearn.data.catalogue import npz_at
from peerlearn.data.classes import occurring, read_class_names
from peerlearn.data.datasets import Source, Split
from peerlearn.data.folders import PART_NAMES, Scan
from peerlearn.data.image_folder import read_image_folder
from peerlearn.data.image_form import ANY_FORM, ImageFiles, ImageForm, sound_headers, told_of
from peerlearn.data.images import ALLOWED, require_pillow
from peerlearn.data.npz import array_names, read_arrays
from peerlearn.errors import InputError, did_you_mean
from peerlearn.objectives.labels import UNLABELLED

SHORT_KEYS = {"x_train": "x", "y_train": "y"}


@dataclass(frozen=True)
class Pool:
    """Rows with what is known of their classes.

    Attributes:
        train: rows for training; `y` counts in `names`, `UNLABELLED` where a class is not known.
        test: rows for measuring, all with a class; None where there are none.
        names: of the classes; of those without a name, their numbers.
        named: whether the file or folder names its classes.
        account: of what was read.
    """

    train: Split
    test: Split | None
    names: tuple[str, ...]
    named: bool
    account: Account = EMPTY


def read_pool(place: str, field: str, form: ImageForm = ANY_FORM, classes: bool = False) -> Pool:
    """The rows of an `.npz` file or a folder, as typed in `field`; labels may be missing.

    `classes` says that the folders of a folder without parts are classes.

    Raises InputError: no such file, or something in it is wrong; names the file and the array.
    """
    path, said = Path(place).expanduser(), f"{field}: {place}"
    if path.is_dir():
        return _folder_pool(path, form, classes)
    return _npz_pool(npz_at(path, "a folder of images", said))


def found_classes(y: Tensor) -> list[int]:
    """The classes that occur in `y`, ascending."""
    found: list[int] = y[y != UNLABELLED].unique().tolist()
    return found


def joined(splits: Sequence[Split]) -> Split:
    """One split, in memory, of the rows of several."""
    decoded = [split.decoded() for split in splits]
    if len(decoded) == 1:
        return decoded[0]
    return Split(torch.cat([s.x for s in decoded]), torch.cat([s.y for s in decoded]))


def check_alike(split: Split, said: str, other: Split, other_said: str) -> None:
    """InputError where rows of two splits, `said` and `other_said`, differ in shape or dtype."""
    if split.sample_shape != other.sample_shape:
        raise InputError(
            f"{said} has rows of shape {split.sample_shape} but {other_said} of "
            f"{other.sample_shape}; rows must have one shape. Images of folders are fitted to one "
            "size by data.size=PIXELS."
        )
    if split.x.dtype != other.x.dtype:
        kinds = [str(s.x.dtype).removeprefix("torch.") for s in (split, other)]
        raise InputError(
            f"{said} holds {kinds[0]} but {other_said} {kinds[1]}; uint8 is scaled to [0, 1] and "
            "float is not."
        )


def measured(source: Source) -> Split | None:
    """The rows of val and test together: nothing is selected on either."""
    parts = [split for split in (source.val, source.test) if split is not None]
    return joined(parts) if parts else None


def class_folder(path: Path) -> Path | None:
    """The part of a folder that holds a folder for each class; None where images lie anyhow."""
    scan = Scan(path)
    trains = [it for it in scan.folders(path) if PART_NAMES.get(it.name.lower()) == "train"]
    return trains[0] if trains and scan.folders(trains[0]) else None


def unlabelled_images(path: Path) -> tuple[Scan, list[Path]]:
    """The images of a folder of unlabelled ones: of its classes where it has any, else all.

    Raises InputError: there are none.
    """
    scan = Scan(path)
    found = scan.images(class_folder(path) or path)
    if not found:
        raise InputError(f"{path}: no images in this folder; allowed: {ALLOWED}")
    return scan, found


def _folder_pool(path: Path, form: ImageForm, classes: bool) -> Pool:
    if classes or class_folder(path) is not None:
        source = read_image_folder(path, form, least=1)
        train, test = source.train.decoded(), measured(source)
        return Pool(train, test, source.class_names, named=True, account=source.account)
    require_pillow()
    scan, found = unlabelled_images(path)
    headers, damage = sound_headers(found, form, path)
    files = ImageFiles.of(headers, form)
    blank = torch.full((len(files.paths),), UNLABELLED)
    account = Account({"unlabelled": len(blank)}, notes=told_of(headers, files, path))
    rows = Split(files.decode(range(len(blank))), blank)
    return Pool(rows, None, (), named=False, account=account + scan.account + damage)


def _npz_pool(path: Path) -> Pool:
    keys = _array_keys(array_names(path), path)
    held_in_file = read_arrays(path, keys.values())
    arrays = {role: held_in_file[key] for role, key in keys.items()}
    train = _split(arrays, keys, "train", path)
    held = [part for part in ("val", "test") if f"y_{part}" in arrays]
    test = [_split(arrays, keys, part, path) for part in held]
    for part, split in zip(held, test, strict=True):
        check_alike(split, f"{path}: x_{part}", train, keys["x_train"])
    found = occurring([split.y for split in (train, *test)])
    names = read_class_names(arrays.get("class_names"), str(path))
    if names and len(found) and found.values[-1] >= len(names):
        raise InputError(
            f"{path}: class_names has {len(names)} names; expected a name for each class from 0 "
            f"to {found.values[-1]}."
        )
    if not names:  # told by their numbers, in both files
        train, *test = (split.with_labels(found.of(split.y)) for split in (train, *test))
    rows = joined(test) if test else None
    return Pool(train, rows, names or found.names, named=bool(names))


def _array_keys(found: Sequence[str], path: Path) -> dict[str, str]:
    """The name in the file of every array that is read, by its full name."""
    keys = {key: key for key in KEYS if key in found}
    for key, short in SHORT_KEYS.items():
        if short in found:
            if key in found:
                raise InputError(f"{path}: holds both {short!r} and {key!r}; which one counts?")
            keys[key] = short
    if "x_train" not in keys:
        hint = did_you_mean("x_train", [name for name in found if name not in keys.values()])
        raise InputError(
            f"{path}: array 'x_train', or 'x', is missing.{hint} "
            f"Found: {', '.join(found) or 'nothing'}."
        )
    for part in ("train", "val", "test"):
        if f"y_{part}" in keys and f"x_{part}" not in keys:
            raise InputError(f"{path}: array 'y_{part}' is there without 'x_{part}'.")
    return keys


def _split(arrays: dict[str, Array], keys: dict[str, str], part: str, path: Path) -> Split:
    x_key, y_key = f"x_{part}", f"y_{part}"
    x = read_rows(arrays[x_key], f"{path}: {keys[x_key]}")
    if not len(x):
        raise InputError(f"{path}: {keys[x_key]} is empty; at least one row is needed.")
    if y_key not in arrays:
        return Split(x, torch.full((len(x),), UNLABELLED))
    where = f"{path}: {keys[y_key]}"
    y = read_targets(arrays[y_key], where, blanks=part == "train")
    if y.ndim == 2:
        raise InputError(f"{where}: {y.shape[1]} labels a row; category discovery needs one class.")
    if len(x) != len(y):
        raise InputError(f"{path}: {keys[x_key]} has {len(x)} rows but {keys[y_key]} {len(y)}.")
    return Split(x, y)
