"""Reads and writes `.npz` files of plain arrays; nothing in them is ever unpickled.

What an array needs is known from its header, and refused where the file does not hold it or this
machine's memory cannot, before anything is taken: a small file can stand for very many zeros.

Large arrays that are stored as they are, as `numpy.savez` does, are mapped: they take memory once,
shared by all processes that read the file, and what is not looked at takes none. Nobody may write
into the file meanwhile; a new one in its place does no harm.
"""

import math
import os
import re
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format

from peerlearn.data.account import Account, some
from peerlearn.data.arrays import KEYS, Array, check_names, source_from_arrays
from peerlearn.data.datasets import LARGE, Source
from peerlearn.data.overlap import with_shared_rows
from peerlearn.errors import InputError
from peerlearn.memory import check_memory

DAMAGE = (
    KeyError, ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError,
    RuntimeError, MemoryError, OverflowError, TypeError, SyntaxError, TokenError,
)  # fmt: skip
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""What stands before a member of a zip file, its name and more; the last two say how long."""
CHECKED_AT_ONCE = 1 << 24
PICKLED = (
    "holds pickled Python objects, which are never loaded; save numbers of one shape and dtype."
)


class Header(NamedTuple):
    """What an array says of itself.

    Attributes:
        shape, dtype: of the array.
        start: bytes before its values.
        fortran: whether its first dimension runs fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    fortran: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(path: Path, classes: int | None = None) -> Source:
    """The splits of an `.npz` file; see `peerlearn.data.arrays` for the arrays it may hold.

    `classes` is `data.classes`, their number where labels do not say it.

    Raises InputError: the file is missing, damaged or holds pickled objects, or an array is wrong.
    """
    check_names(dict.fromkeys(array_names(path)), str(path))
    source = source_from_arrays(read_arrays(path, KEYS), str(path), classes)
    return with_shared_rows(source._replace(account=source.account + not_read(path, KEYS)))


def not_read(path: Path, known: Collection[str]) -> Account:
    """What is told of arrays of a file that mean nothing to who reads it."""
    others = [name for name in array_names(path) if name not in known]
    notes = (f"arrays that are not read: {some(others)}",) if others else ()
    return Account(notes=_poison_note(path, others) + notes)


def _poison_note(path: Path, others: Collection[str]) -> tuple[str, ...]:
    """What is told of a file that `peerlearn attack` has written, by arrays that are not read."""
    if not {"attack", "poisoned"} <= set(others):
        return ()
    found = re.search(r'"kind": "([\w-]{1,40})"', str(read_arrays(path, ["attack"])["attack"]))
    by = f" by attack {found.group(1)!r}" if found else ""
    return (f"marked as poisoned{by}: some training rows carry a backdoor's trigger",)


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
    _check_file(path)
    try:
        with path.open("rb") as raw:
            single = raw.read(len(format.MAGIC_PREFIX)) == format.MAGIC_PREFIX
        file = None if single else np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(
            f"{path}: not an .npz file, or cut short ({_first_line(error)}); "
            "numpy.savez writes one."
        ) from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: holds a single array; expected an .npz with x_train, y_train …")
    return file


def read_arrays(path: Path, keys: Iterable[str] | None = None) -> dict[str, Array]:
    """The arrays of an `.npz` file by name: all of them, or those of `keys` that are there.

    Raises InputError: the file is missing, damaged or holds pickled objects, or the arrays need
    more memory than there is.
    """
    with open_npz(path) as file:
        chosen = [key for key in keys or file.files if key in file.files]
        check_memory(sum(_checked_size(file, key, path) for key in chosen), str(path))
        return {key: read_array(file, key, path) for key in chosen}


def read_array(file: "np.lib.npyio.NpzFile", key: str, path: Path) -> Array:
    """One array of an open file.

    Raises InputError: it is damaged, holds pickled objects, or needs more memory than there is.
    """
    check_memory(_checked_size(file, key, path), f"{path}: array {key!r}")
    try:
        array: Array | None = _mapped(file, key, path)
        if array is None:
            array = file[key]
    except DAMAGE as error:
        raise _damaged(path, key, error) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {key!r} is not an array.")
    _check_text(array, f"{path}: {key}")
    return array


def _mapped(file: "np.lib.npyio.NpzFile", key: str, path: Path) -> Array | None:
    """A large array that is stored as it is, in the file itself; writes to it stay in memory.

    None where it is small or compressed. Raises what `DAMAGE` names.
    """
    archive = _archive(file)
    info = archive.NameToInfo.get(f"{key}.npy")
    if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size < LARGE:
        return None
    with archive.open(info) as content:
        header = _header(content)
    if header.nbytes != info.file_size - header.start:
        return None
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        local = raw.read(LOCAL_HEADER.size)
    *_, name, extra = LOCAL_HEADER.unpack(local)
    start = info.header_offset + LOCAL_HEADER.size + name + extra
    whole = np.memmap(path, np.uint8, "c", start, (info.file_size,))
    found = 0
    for at in range(0, len(whole), CHECKED_AT_ONCE):
        found = zlib.crc32(whole[at : at + CHECKED_AT_ONCE].data, found)
    if found != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    values = np.asarray(whole)[header.start :].view(header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _check_text(array: Array, where: str) -> None:
    """InputError where texts hold numbers of letters that there are not; Python fails on such."""
    if array.dtype.kind == "U" and array.itemsize and array.size:
        number = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        if np.ascontiguousarray(array).reshape(-1).view(number).max() > sys.maxunicode:
            raise InputError(f"{where}: holds bytes that are no text")


def read_npy(path: Path) -> Array:
    """The array of an `.npy` file.

    Raises InputError: the file is missing, damaged, of another kind or holds pickled objects, or
    needs more memory than there is.
    """
    _check_file(path)
    try:
        with path.open("rb") as file:
            header = _header(file)
        if header.dtype.hasobject:
            raise InputError(f"{path}: {PICKLED}")
        there = path.stat().st_size - header.start
        if header.nbytes > there:
            raise ValueError(f"{header.nbytes:,} bytes of values announced, {there:,} are there")
        check_memory(header.nbytes, str(path))
        array: Array = np.load(path, allow_pickle=False)
        _check_text(array, str(path))
    except DAMAGE as error:
        if isinstance(error, InputError):
            raise
        if zipfile.is_zipfile(path):
            raise InputError(f"{path}: an .npz file; rename it so that its name says so") from None
        raise InputError(
            f"{path}: not a .npy file, or cut short ({_first_line(error)}); numpy.save writes one"
        ) from None
    return array


def array_shape(path: Path, key: str) -> tuple[int, ...] | None:
    """Shape of an array of an `.npz` file, None where there is none; nothing else is read.

    Raises InputError: the file is missing or damaged.
    """
    with open_npz(path) as file:
        if key not in file.files:
            return None
        try:
            with _archive(file).open(f"{key}.npy") as content:
                return _header(content).shape
        except DAMAGE as error:
            raise _damaged(path, key, error) from error


def _checked_size(file: "np.lib.npyio.NpzFile", key: str, path: Path) -> int:
    """Bytes that an array needs; InputError where its header says more than the file holds."""
    archive = _archive(file)
    member = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
    try:
        size = archive.getinfo(member).file_size
        with archive.open(member) as content:
            header = _header(content)
    except DAMAGE as error:
        raise _damaged(path, key, error) from error
    if header.dtype.hasobject:
        raise InputError(f"{path}: array {key!r} {PICKLED}")
    if header.nbytes > size - header.start:
        said = f"{header.nbytes:,} bytes of values announced, {size - header.start:,} are there"
        raise InputError(f"{path}: array {key!r} is damaged ({said}).")
    return header.nbytes


def _archive(file: "np.lib.npyio.NpzFile") -> zipfile.ZipFile:
    assert file.zip is not None, "an open file has one"
    return file.zip


def _header(content: IO[bytes]) -> Header:
    """The header at the beginning of an array. Raises what `DAMAGE` names."""
    first = format.read_magic(content) == (1, 0)
    read = format.read_array_header_1_0 if first else format.read_array_header_2_0
    shape, fortran, dtype = read(content)
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    return Header(shape, dtype, content.tell(), fortran)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: is neither a file nor a folder.")


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
