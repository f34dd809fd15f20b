"""State without pickles: nested mappings and lists of tensors, numbers and strings in one file.

The file is safetensors: tensors under their path, everything else as JSON in the header, with a
hash of both, by which a header that is not what was written is known.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.files import check_file, write_atomically

_HEADER, _HASH = "peerlearn", "hash"


def save_state(path: Path, state: Any) -> None:
    """Write nested state to one safetensors file, atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(state, "", tensors)
    said = json.dumps(skeleton)
    header = {_HEADER: said, _HASH: _hash(said, tensors)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote, tensors on the CPU.

    Raises InputError: no such file, or not written by `save_state`.
    """
    tensors, said = read_tensors(path)
    if _HEADER not in said:
        raise InputError(f"{path}: a safetensors file, but not a state written by peerlearn")
    # What passes for a state could fail in any later step, such as one of an optimiser.
    if said.get(_HASH) not in (None, _hash(said[_HEADER], tensors)):  # None: an earlier version's
        raise InputError(f"{path}: the header of the state is damaged (its hash is another)")
    try:
        return _put_together(json.loads(said[_HEADER]), tensors)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: the header of the state is damaged ({reason})") from None


def _hash(said: str, tensors: dict[str, Tensor]) -> str:
    forms = sorted((name, str(it.dtype), list(it.shape)) for name, it in tensors.items())
    return hashlib.blake2b(json.dumps([said, forms]).encode(), digest_size=8).hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, on the CPU, and what its header says beside them.

    Raises InputError: no such file, or not a whole safetensors file.
    """
    check_file(path)  # a pipe would be waited for, and nothing could interrupt that
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in list(stored.keys())}
            return tensors, stored.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None


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
