"""Files that are either whole or not there: texts, JSON, arrays."""

import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from peerlearn.errors import InputError, RunError


def free_folder(name: str) -> Path:
    """The first of `runs/NAME-1`, `runs/NAME-2`, … that is not there."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Raises RunError: the file cannot be written (disk full, no permission); the old one stays.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> RunError:
    """What to raise when `path` could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
    hint = "; free some space and run again with --resume" if full else ""
    return RunError(f"cannot write {path}: {reason}{hint}")


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity become null."""
    write_text(path, json.dumps(_json_numbers(value), indent=1, allow_nan=False) + "\n")


def json_line(value: Any) -> str:
    """`value` as JSON in one line with its end; NaN and infinity become null."""
    return json.dumps(_json_numbers(value), allow_nan=False) + "\n"


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to one compressed `.npz` file, atomically; none of them holds objects."""
    content: dict[str, Any] = dict(arrays)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # a name would get a suffix of numpy's choice
            np.savez_compressed(file, **content)

    write_atomically(path, write)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises InputError: no such file, or not JSON; names the file."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of any length, brackets of any depth
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def check_writable(path: Path, said: str, folder: bool = False) -> None:
    """See that a file, or a folder, could be written at `path`, before the work it is to hold.

    Raises InputError: it could not; begins with what was `said`, and says why.
    """
    try:
        if path.exists() and path.is_dir() != folder:
            found, other = ("a file", "a folder") if folder else ("a folder", "a file")
            raise InputError(f"{said}: is {found}; expected {other}")
        if path.exists() and not (folder or path.is_file()):
            raise InputError(f"{said}: is a pipe or a device, in whose place a file would stand")
        place = path if folder else path.absolute().parent
        place = next(it for it in (place, *place.absolute().parents) if it.exists())
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{said}: cannot be written ({reason})") from None
    if not place.is_dir():
        raise InputError(f"{said}: {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{said}: {place} cannot be written")


def resolved(path: Path) -> Path:
    """Where a path leads. Raises InputError: in a circle, by links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise InputError(f"{path}: links that lead in a circle, and to no file") from None


def check_inside(folder: Path, path: Path) -> None:
    """InputError where a path in a folder leads out of it by a link, so that it is not written."""
    if not resolved(path).is_relative_to(resolved(folder)):
        raise InputError(
            f"{path}: leads out of {folder} by a link, and what is written there would be too; put "
            "it there itself"
        )


def check_file(path: Path) -> None:
    """InputError where a path leads to a folder, or to a pipe or device, to be waited for."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is a {'folder' if path.is_dir() else 'device'}, not a file")


def read_text(path: Path) -> str:
    """A whole text file; a byte-order mark is no part of it.

    Raises InputError: no such file, not a file (a folder, a pipe), not readable, or not UTF-8.
    """
    check_file(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        said = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise InputError(f"{path}: not readable as UTF-8 text ({said})") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not readable ({reason})") from None


def _json_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_numbers(inner) for inner in value]
    if hasattr(value, "tolist"):  # a tensor or an array
        return _json_numbers(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def is_newer(path: Path, than: Path) -> bool:
    """Whether a file is there, and was written when the other one was there already."""
    return path.exists() and than.exists() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns
