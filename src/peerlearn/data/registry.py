"""Finds a data set by name or path, downloads it where it must, and builds its splits."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerlearn.data.datasets import Dataset, Source
from peerlearn.data.digits import read_digits
from peerlearn.data.downloads import Patience, download, mirrored
from peerlearn.data.image_folder import LazySplit, read_image_folder
from peerlearn.data.npz import read_npz, write_npz
from peerlearn.data.originals import originals
from peerlearn.data.roots import (
    alone,
    find_named,
    looks_like_path,
    named_files,
    npz_at,
    writable_root,
)
from peerlearn.data.spec import DataSpec, ImageDataSpec
from peerlearn.data.splits import build_dataset
from peerlearn.errors import InputError, unknown_name

EMBEDDED = "digits"
MEMORY_LIMIT = 2 * 1024**3
"""Bytes below which `in_memory: auto` holds a data set in memory."""


@dataclass(frozen=True)
class Description:
    """One line of `peerlearn ls data`.

    Attributes:
        name: what `data.name` takes.
        about: a few words.
        classes, shape, rows: of the published data; None where only the file knows.
        place: the file that would be read, "embedded", or the size of the download.
    """

    name: str
    about: str
    classes: int | None
    shape: tuple[int, ...] | None
    rows: tuple[int, int] | None
    place: str


def load_dataset(spec: DataSpec) -> Dataset:
    """The data set that a `data` block asks for.

    A name is looked up as `ROOT/NAME.npz`, then `ROOT/images/NAME.npz`, then downloaded to
    `ROOT`; anything else is the path of an `.npz` file or of a folder of images.

    Raises:
        InputError: no such data set, or something in it is wrong; names the file and array.
        RunError: a download failed.
    """
    return _build(spec, read_source(spec.name, spec.root, spec.size))


def read_source(name: str, root: str | None = None, size: int | None = None) -> Source:
    """All rows of a data set by name or path, as `load_dataset` finds it, before any choice.

    Args:
        name: of `data.name`.
        root: as in `DataSpec.root`.
        size: side to which the images of a folder are fitted.

    Raises:
        InputError: no such data set, or something in it is wrong; names the file and array.
        RunError: a download failed.
    """
    if name == EMBEDDED:
        return read_digits()
    if named := find_named(name, root):
        return read_npz(named)
    if name in originals():
        return read_npz(get_dataset(name, root))
    path = Path(name).expanduser()
    if path.is_dir():
        return _read_folder(path, size)
    if path.is_file() or looks_like_path(name):
        return read_npz(npz_at(path, "a folder with train/CLASS/*.png"))
    raise unknown_name("data set or path", name, dataset_names(root), field="data.name")


def get_dataset(
    name: str,
    root: str | None = None,
    mirror: str | None = None,
    patience: Patience | None = None,
) -> Path:
    """The `.npz` file of a named data set, downloaded and converted where it is not there yet.

    Args:
        name: a name of `dataset_names` that is a file or can be downloaded.
        root: where to look and to write; default as in `DataSpec.root`.
        mirror: base address that holds `NAME/FILE` for each original file; default the
            environment's PEERLEARN_MIRROR, else the public sources.
        patience: how long to try.

    Raises:
        InputError: unknown name, embedded data, or a folder that cannot be written.
        RunError: the download failed.
    """
    if name == EMBEDDED:
        raise InputError(f"{name}: shipped with scikit-learn; there is nothing to download.")
    if found := find_named(name, root):
        return found
    known = originals()
    if name not in known:
        raise unknown_name("data set", name, dataset_names(root))
    target = writable_root(root) / f"{name}.npz"
    parts = target.parent / name
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with alone(parts / ".lock"):
            if not target.exists():
                files = mirrored(
                    name, known[name].files, mirror or os.environ.get("PEERLEARN_MIRROR")
                )
                for file in files:
                    download(file, parts, patience)
                write_npz(target, known[name].read(parts))
                shutil.rmtree(parts, ignore_errors=True)
    except PermissionError as error:
        raise InputError(f"data.root: {error.filename} cannot be written.") from error
    return target


def dataset_names(root: str | None = None) -> tuple[str, ...]:
    """Every name that `data.name` takes: embedded, downloadable, or a file below the root."""
    return tuple(dict.fromkeys([EMBEDDED, *originals(), *named_files(root)]))


def describe_datasets(root: str | None = None) -> tuple[Description, ...]:
    """A `Description` of each of `dataset_names`."""
    known = originals()
    lines = [Description(EMBEDDED, "handwritten digits", 10, (1, 8, 8), (1_437, 360), "embedded")]
    for name in dataset_names(root)[1:]:
        found = find_named(name, root)
        if name in known:
            it = known[name]
            place = str(found) if found else f"download of {it.megabytes} MB"
            lines.append(Description(name, it.title, it.classes, it.shape, it.rows, place))
        else:
            lines.append(Description(name, "your file", None, None, None, str(found)))
    return tuple(lines)


def _read_folder(path: Path, size: int | None) -> Source:
    if not (path / "train").is_dir():
        raise InputError(
            f"{path}: this folder has no train/; expected train/CLASS/*.png, and optionally "
            "val/ and test/ of the same classes."
        )
    return read_image_folder(path, size)


def _build(spec: DataSpec, source: Source) -> Dataset:
    """Decide where the rows live, then divide them."""
    in_memory = in_memory_of(spec, source)
    dataset = build_dataset(spec.short_name, source, spec, in_memory)
    return dataset.decoded() if in_memory else dataset


def in_memory_of(spec: ImageDataSpec, source: Source[Any]) -> bool:
    """Whether the rows of a source are to be held in memory.

    Raises:
        InputError: `data.size` for something that is no folder of images.
    """
    splits = [split for split in (source.train, source.val, source.test) if split is not None]
    if spec.size is not None and not any(isinstance(split, LazySplit) for split in splits):
        raise InputError(f"data.size: fits the images of a folder; {spec.name} is not a folder.")
    if spec.in_memory == "auto":
        return sum(split.nbytes for split in splits) < MEMORY_LIMIT
    return spec.in_memory
