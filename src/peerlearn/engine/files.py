"""State without pickles: nested mappings and lists of tensors, numbers and strings in one file.

The file is safetensors: tensors under their path, everything else as JSON in the header.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.files import write_atomically

_HEADER = "peerlearn"


def save_state(path: Path, state: Any) -> None:
    """Write nested state to one safetensors file, atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(state, "", tensors)
    header = {_HEADER: json.dumps(skeleton)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote, tensors on the CPU.

    Raises InputError: no such file, or not written by `save_state`.
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
