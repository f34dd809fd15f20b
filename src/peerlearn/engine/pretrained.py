"""Initial weights from a file, such as a teacher that was trained elsewhere."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from peerlearn.engine.files import load_state
from peerlearn.errors import InputError, similar_path

#: Keys under which training scripts keep the weights beside other things.
WRAPPERS = ("state_dict", "model", "model_state_dict", "weights")
SHOWN = 3


def load_weights(module: nn.Module, path: Path, field: str, skip: tuple[str, ...] = ()) -> None:
    """Give `module` the weights in a file, all of them.

    Args:
        path: a `.safetensors` file, of a run's `checkpoints/best` too; else what `torch.save` wrote
            of a `state_dict`, alone or under one of `WRAPPERS`. Names may begin with `module.`, as
            they do after `DataParallel`. Pickled code is never run.
        field: the configuration field that holds `path`, for messages.
        skip: beginnings of names that are left as they are, whatever the file says of them.

    Raises InputError: a file that cannot be read, or weights that do not fit; names them.
    """
    if not path.is_file():
        raise InputError(f"{field}: {path}: no such file.{similar_path(path)}")
    given = _read(path, field)
    if all(name.startswith("module.") for name in given):
        given = {name.removeprefix("module."): tensor for name, tensor in given.items()}
    own = module.state_dict()
    given = {name: tensor for name, tensor in given.items() if not name.startswith(skip)}
    wanted = {name: tensor for name, tensor in own.items() if not name.startswith(skip)}
    _check(wanted, given, f"{field}: {path}")
    module.load_state_dict(own | given)


def _read(path: Path, field: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            plain = load_file(path)
            of_a_run = all(name.startswith("/weights/") for name in plain)
            return load_state(path)["weights"] if of_a_run else plain
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{field}: {path}: no weights can be read from it ({why}); "
            "allowed: a .safetensors file, or a state_dict that torch.save wrote"
        ) from None
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = isinstance(found, Mapping) and all(isinstance(v, Tensor) for v in found.values())
    if not tensors or not found:
        raise InputError(
            f"{field}: {path}: holds {_kind(found)}; allowed: a state_dict, tensors by name, alone "
            f"or under one of {', '.join(WRAPPERS)}"
        )
    return dict(found)


def _check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    missing = [name for name in wanted if name not in given]
    foreign = [name for name in given if name not in wanted]
    shapes = [
        f"{name} has shape {tuple(given[name].shape)}, the network's {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    faults = {
        "weights of the network are not in the file": missing,
        "weights of the file are not in the network": foreign,
        "weights have another shape": shapes,
    }
    said = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
        for what, names in faults.items()
        if names
    ]
    if said:
        raise InputError(f"{where}: does not fit the network. " + "; ".join(said))


def _kind(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a mapping with the keys {', '.join(map(str, list(found)[:SHOWN]))}"
    return f"a {type(found).__name__}"
