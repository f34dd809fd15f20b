"""Reads and writes `.npz` files of plain arrays; nothing in them is ever unpickled."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format

from peerlearn.data.arrays import KEYS, Array, check_names, source_from_arrays
from peerlearn.data.datasets import Source
from peerlearn.errors import InputError

DAMAGE = (
    KeyError, ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip


def read_npz(path: Path, classes: int | None = None) -> Source:
    """The splits of an `.npz` file; see `peerlearn.data.arrays` for the arrays it may hold.

    `classes` is `data.classes`, their number where labels do not say it.

    Raises InputError: the file is missing, damaged or holds pickled objects, or an array is wrong.
    """
    check_names(dict.fromkeys(array_names(path)), str(path))
    return source_from_arrays(read_arrays(path, KEYS), str(path), classes)


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write `arrays` to `path` so that it never exists half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            content: dict[str, Any] = dict(arrays)
            np.savez(file, **content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def open_npz(path: Path) -> "np.lib.npyio.NpzFile":
    """The file, with nothing in it read yet; nothing pickled will be.

    Raises InputError: no such file, or not an `.npz`.
    """
    try:
        file = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not an .npz file, or cut short ({_first_line(error)}); "
            "numpy.savez writes one."
        ) from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: holds a single array; expected an .npz with x_train, y_train …")
    return file


def read_arrays(path: Path, keys: Iterable[str] | None = None) -> dict[str, Array]:
    """The arrays of an `.npz` file by name: all of them, or those of `keys` that are there.

    Raises InputError: the file is missing, damaged or holds pickled objects.
    """
    with open_npz(path) as file:
        chosen = [key for key in keys or file.files if key in file.files]
        return {key: read_array(file, key, path) for key in chosen}


def read_array(file: "np.lib.npyio.NpzFile", key: str, path: Path) -> Array:
    """One array of an open file; refused where it is damaged or holds pickled objects."""
    try:
        array: Array = file[key]
    except DAMAGE as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise InputError(
                f"{path}: array {key!r} holds pickled Python objects, which are never loaded; "
                "save numbers of one shape and dtype."
            ) from error
        raise _damaged(path, key, error) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {key!r} is not an array.")
    return array


def array_shape(path: Path, key: str) -> tuple[int, ...] | None:
    """Shape of an array of an `.npz` file, None where there is none; nothing else is read.

    Raises InputError: the file is missing or damaged.
    """
    if key not in array_names(path):
        return None
    try:
        with zipfile.ZipFile(path) as file, file.open(f"{key}.npy") as content:
            first = format.read_magic(content) == (1, 0)
            read = format.read_array_header_1_0 if first else format.read_array_header_2_0
            shape: tuple[int, ...] = read(content)[0]
    except DAMAGE as error:
        raise _damaged(path, key, error) from error
    return shape


def array_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays of an `.npz` file; only its directory is read.

    Raises InputError: the file is missing or damaged.
    """
    with open_npz(path) as file:
        return tuple(file.files)


def _damaged(path: Path, key: str, error: Exception) -> InputError:
    return InputError(f"{path}: array {key!r} is damaged ({_first_line(error)}).")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
