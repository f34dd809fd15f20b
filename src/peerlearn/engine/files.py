"""Files that are either whole or not there, and state without pickles.

State (nested mappings and lists of tensors, numbers and strings) goes into one safetensors file:
tensors under their path, everything else as JSON in the header.
"""

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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peerlearn.errors import InputError, RunError

_HEADER = "peerlearn"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Raises:
        RunError: the file cannot be written (disk full, no permission); the old one stays.
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


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to one compressed `.npz` file, atomically; none of them holds objects."""
    content: dict[str, Any] = dict(arrays)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # a name would get a suffix of numpy's choice
            np.savez_compressed(file, **content)

    write_atomically(path, write)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: no such file, or not JSON; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def save_state(path: Path, state: Any) -> None:
    """Write nested state to one safetensors file, atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(state, "", tensors)
    header = {_HEADER: json.dumps(skeleton)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote, tensors on the CPU.

    Raises:
        InputError: no such file, or not written by `save_state`.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            header = (stored.metadata() or {}).get(_HEADER)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None
    if header is None:
        raise InputError(f"{path}: a safetensors file, but not a state written by peerlearn")
    return _put_together(json.loads(header), tensors)


def _take_apart(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # Weights can share memory with an average of them; a file cannot.
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, dict):
        items = [
            [key, _take_apart(inner, f"{path}/{key}", tensors)] for key, inner in value.items()
        ]
        return {"items": items}
    if isinstance(value, list | tuple):
        return {"list": [_take_apart(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _put_together(node: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = node.items()
    match kind:
        case "tensor":
            return tensors[content]
        case "items":
            return {key: _put_together(inner, tensors) for key, inner in content}
        case "list":
            return [_put_together(inner, tensors) for inner in content]
        case _:
            return content


def _json_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_numbers(inner) for inner in value]
    if isinstance(value, Tensor):
        return _json_numbers(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
