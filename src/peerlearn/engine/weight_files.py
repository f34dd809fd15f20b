"""A peer's weights in a file that anybody can read: plain names, a header that says of what.

`net.load_state_dict(safetensors.torch.load_file(path))` is all that it takes to use one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from peerlearn.engine.files import read_tensors
from peerlearn.errors import shown
from peerlearn.files import write_atomically
from peerlearn.provenance import version_of

FORMAT = 2
"""Of these files. Those of format 1 have names that begin with `/weights/`, and are read too."""
_FIRST_FORMAT = "/weights/"


def write_weights(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write weights under their own names, atomically.

    Args:
        weights: a state dict, on any device.
        about: of the header, which holds texts: what is none is written as JSON, None left out.

    Raises RunError: the file cannot be written; the old one stays.
    """
    # Weights can share memory, where layers are tied; a file cannot.
    tensors = {name: each.detach().cpu().contiguous().clone() for name, each in weights.items()}
    said = {"format": "pt", "peerlearn_format": FORMAT, "peerlearn": version_of("peerlearn")}
    said |= about
    header = {key: _text(value) for key, value in said.items() if value is not None}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def _text(value: Any) -> str:
    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file by their own names, on the CPU.

    Raises InputError: no such file, or not a whole safetensors file.
    """
    return _read(path)[0]


def read_header(path: Path) -> dict[str, str]:
    """What the header of a safetensors file says; InputError as for `read_weights`."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    weights, header = read_tensors(path)
    if weights and all(name.startswith(_FIRST_FORMAT) for name in weights):
        weights = {name.removeprefix(_FIRST_FORMAT): each for name, each in weights.items()}
    return weights, header


def described(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a header says of the data that weights were trained on, from the fields of their info.

    Where these are plain rows it says how raw ones become what a network reads.
    """
    about = {key: value for key, value in info.items() if key != "rows"}
    about["data"] = about.pop("name", None)
    if about.get("mean") and about.get("std"):
        raw = "x / 255" if about.get("dtype") == "uint8" else "x"
        about["preprocessing"] = (
            f"({raw} - mean) / std, by channel or feature; a std of 0 counts as 1"
        )
    return about
