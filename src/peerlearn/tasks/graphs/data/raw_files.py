"""What raw files of graph data share: how they are found, and tables of numbers in text.

Tables may be gzipped: one row a line, numbers separated by commas or blanks.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peerlearn.errors import InputError


def homes(folder: Path, begin: str, end: str) -> list[Path]:
    """Of each file `BEGIN…END` in the folder, or in `raw` in it, the path without END."""
    return [
        path.with_name(path.name.removesuffix(end))
        for place in (folder, folder / "raw")
        for path in sorted(place.glob(f"{begin}*{end}"))
    ]


def only_home(folder: Path, begin: str, end: str, files: str) -> Path:
    """The one of `homes`.

    Raises:
        InputError: there is none, or there are several; says that `files` were expected.
    """
    found = homes(folder, begin, end)
    if len(found) != 1:
        raise InputError(
            f"{folder}: expected one data set of files {files}; "
            f"found: {', '.join(map(str, found)) or 'none'}."
        )
    return found[0]


def read_integers(path: Path, columns: int | None = None) -> NDArray[np.int64]:
    """The file as int64 (lines, columns); None for any number of columns.

    Raises:
        InputError: missing, empty, not all whole numbers, or another number of columns.
    """
    values = read_numbers(path, columns)
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        line = int((~whole).any(1).argmax())
        raise InputError(
            f"{path}: line {line + 1} holds {values[line][~whole[line]][0]:g}; allowed: whole "
            "numbers."
        )
    return values.astype(np.int64)


def read_numbers(path: Path, columns: int | None = None) -> NDArray[np.float64]:
    """The file as float64 (lines, columns).

    Raises:
        InputError: missing, empty, not all numbers, or another number of columns.
    """
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            lines = file.read().replace(",", " ").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a text file ({error}).") from None
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError(f"{path}: is empty.")
    try:
        values = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise InputError(f"{path}: not a table of numbers ({error}).") from None
    if columns is not None and values.shape[1] != columns:
        raise InputError(f"{path}: {values.shape[1]} numbers a line; allowed: {columns}.")
    return values
