"""Finds a data set by name or path, downloads it where it must, and builds its splits."""

from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from peerlearn.data.account import Account
from peerlearn.data.catalogue import Catalogue, Known, npz_at
from peerlearn.data.datasets import Dataset, Source, Split
from peerlearn.data.digits import FULL_INK, read_digit_file
from peerlearn.data.image_folder import LazySplit, read_image_folder
from peerlearn.data.image_form import ANY_FORM, ImageForm
from peerlearn.data.npz import read_npz
from peerlearn.data.originals import ORIGINALS, fetch_original
from peerlearn.data.overlap import with_shared_rows
from peerlearn.data.spec import DataSpec, ImageDataSpec
from peerlearn.data.splits import Divided, divide, hold_out
from peerlearn.errors import InputError
from peerlearn.memory import available_memory

MEMORY_SHARE = 0.25
"""Of the memory that is available: what `in_memory: auto` holds a data set in."""
MEMORY_LIMIT = 2 * 1024**3
"""Bytes, where nobody says how much memory there is."""

D = TypeVar("D", bound=Dataset)


def read_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits as uint8 (N, 1, 8, 8), 1,257 / 180 / 360 rows.

    Steps of ink are spread over 0 to 255, so that scaled rows fill [0, 1]. The stratified split is
    the same for every seed: results stay comparable.
    """
    pixels, labels = read_digit_file()
    x = np.rint(pixels * (255 / FULL_INK)).astype(np.uint8).reshape(-1, 1, 8, 8)
    everything = Split(torch.from_numpy(x), torch.from_numpy(labels))
    rest, test = hold_out(everything, 360, 0, "test")
    train, val = hold_out(rest, 180, 0, "val")
    return Source(train, val, test, classes=10)


def _original(name: str) -> Known[Source]:
    it = ORIGINALS[name]
    fetch = partial(fetch_original, name)
    return Known(
        it.title, it.classes, it.rows, lambda root: read_npz(fetch(root)), it.shape,
        get=fetch, download=f"download of {it.megabytes} MB",
    )  # fmt: skip


DIGITS: Known[Source] = Known(
    "handwritten digits", 10, (1_437, 360), lambda root: read_digits(), (1, 8, 8),
    origin="shipped with scikit-learn",
)  # fmt: skip
DATASETS = Catalogue(
    "data set", "images", {"digits": DIGITS, **{name: _original(name) for name in ORIGINALS}}
)


def load_dataset(spec: DataSpec, form: ImageForm | None = None) -> Dataset:
    """The data set that a `data` block asks for, by name or as the path of an `.npz` or a folder.

    `form` is how images of a folder are read, in place of what `spec` says of it.

    Raises:
        InputError: no such data set, or something in it is wrong; names the file and array.
        RunError: a download failed.
    """
    form = form or image_form(spec)
    source = read_source(spec.name, spec.root, form, spec.classes)
    check_classes(source, spec, spec.name)
    return built(Dataset, source, spec)


def check_classes(source: Source[Any], spec: DataSpec, said: str) -> None:
    """Raise `InputError` where data, called `said`, have another number of classes than asked."""
    if spec.classes not in (None, source.classes):
        raise InputError(f"data.classes: {spec.classes}, but {said} has {source.classes} classes.")


def image_form(spec: Any) -> ImageForm:
    """How the images of a folder are read by what a `data` block says."""
    return ImageForm(spec.size, getattr(spec, "fit", "resize"), spec.damaged)


def read_source(
    name: str,
    root: str | None = None,
    form: ImageForm = ANY_FORM,
    classes: int | None = None,
) -> Source:
    """All rows of a data set by name or path, before any choice; arguments as in `DataSpec`.

    Raises InputError, RunError: as `load_dataset`.
    """

    def at(path: Path) -> Source:
        if path.is_dir():
            source = read_image_folder(path, form)
            return source if form.measuring else with_shared_rows(source)
        return read_npz(npz_at(path, "a folder with train/CLASS/*.png"), classes)

    return DATASETS.read(name, root, at)


def built(kind: type[D], source: Source[Any], spec: ImageDataSpec) -> D:
    """The data set of a source: its rows divided, and in memory where they are to be held there.

    Raises InputError: `data.size` for something that is no folder of images, or as `divide`.
    """
    splits = [split for split in (source.train, source.val, source.test) if split is not None]
    if spec.size is not None and not any(isinstance(split, LazySplit) for split in splits):
        raise InputError(f"data.size: fits the images of a folder; {spec.name} is not a folder.")
    in_memory = spec.in_memory
    if in_memory == "auto":
        there = available_memory()
        limit = MEMORY_LIMIT if there is None else int(MEMORY_SHARE * there)
        in_memory = sum(split.nbytes for split in splits) < limit
    divided = divide(source, spec)
    account = source.account + _held_out(divided) + divided.account
    said = source.said() | {"account": account}
    data = kind(spec.short_name, *divided.parts, **said, in_memory=in_memory)
    return data.decoded() if in_memory else data


def _held_out(divided: Divided[Any]) -> Account:
    """What is told of parts that the data do not have."""
    counts = divided.held_out.items()
    said = [f"no {part}: {count:,} of train are held out for it" for part, count in counts]
    return Account(notes=tuple(said))
