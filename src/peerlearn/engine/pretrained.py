"""Initial weights from a file, such as a teacher that was trained elsewhere."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.engine.weight_files import read_weights
from peerlearn.errors import InputError, similar_path

#: Keys under which training scripts keep the weights beside other things.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
#: What `torch.compile` puts into the names of a network, or of a part of it.
COMPILED = "_orig_mod."
SHOWN = 3


def load_weights(
    module: nn.Module,
    path: Path,
    field: str,
    skip: tuple[str, ...] = (),
    may_lack: Callable[[str], bool] = lambda name: False,
) -> None:
    """Give `module` the weights in a file, all of them.

    Args:
        path: a `.safetensors` file, of a run's `checkpoints/best` too; else what `torch.save` wrote
            of a `state_dict`, alone or under one of `WRAPPERS`. Names may all begin with something
            that the network's do not, such as `module.` or `model.`. Pickled code is never run.
        field: the configuration field that holds `path`, for messages.
        skip: beginnings of names that are left as they are, whatever the file says of them.
        may_lack: names that are left as they are where the file has none of them.

    Raises InputError: a file that cannot be read, or weights that do not fit; names them.
    """
    if not path.is_file():
        found = "is no plain file" if path.exists() else f"no such file.{similar_path(path)}"
        raise InputError(f"{field}: {path}: {found}")
    own = module.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if not name.startswith(skip)}
    given = _by_own_names(_read(path, field), wanted)
    given = {name: tensor for name, tensor in given.items() if not name.startswith(skip)}
    if not any(map(may_lack, given)):
        wanted = {name: tensor for name, tensor in wanted.items() if not may_lack(name)}
    _check(wanted, given, f"{field}: {path}")
    module.load_state_dict(own | given)


def _read(path: Path, field: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return read_weights(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        why = (str(error).splitlines() or [type(error).__name__])[0].removeprefix(f"{path}: ")
        raise InputError(
            f"{field}: {path}: no weights can be read from it ({why}); "
            "allowed: a .safetensors file, or a state_dict that torch.save wrote, without objects "
            "of classes that are not torch's"
        ) from None
    while isinstance(found, Mapping):
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    tensors = isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    )
    if not tensors or not found:
        raise InputError(
            f"{field}: {path}: holds {_kind(found)}; allowed: a state_dict, tensors by name, alone "
            f"or under one of {', '.join(WRAPPERS)}"
        )
    return dict(found)


def in_form_of(path: Path, weights: Mapping[str, Tensor], field: str) -> dict[str, Tensor]:
    """Weights of a network under the names, and in the number formats, of a file of its weights.

    So what reads the file reads them. `load_weights` has taken the file for the network before.

    Raises InputError: the file cannot be read, or has other weights; names them.
    """
    given = _read(path, field)
    names = dict(zip(given, _own_names(given, weights), strict=True))
    _check(weights, {names[name]: tensor for name, tensor in given.items()}, f"{field}: {path}")
    own = ((name, weights[names[name]], tensor.dtype) for name, tensor in given.items())
    # Weights can share memory, where layers are tied; a file cannot.
    return {name: mine.to(dtype, copy=True).contiguous() for name, mine, dtype in own}


def _by_own_names(given: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    return dict(zip(_own_names(given, wanted), given.values(), strict=True))


def _own_names(given: Collection[str], wanted: Iterable[str]) -> list[str]:
    """The network's names of weights, in their order, where all of these follow one beginning.

    Where they do not, the beginning that most of them follow is taken away from all names that
    have it, so that what is said to be missing is missing.
    """
    names = [name.replace(COMPILED, "") for name in given]
    wanted = set(wanted)
    if COMPILED in "".join(wanted) or wanted <= set(given):
        return list(given)  # as they are
    found = Counter(
        name.removesuffix(own)
        for name in names
        for own in (name.split(".", n)[-1] for n in range(name.count(".") + 1))
        if own in wanted
    )
    prefix = max(found, key=lambda each: (found[each], -len(each)), default="")
    return [name.removeprefix(prefix) for name in names]


def _check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    missing = {name: tensor for name, tensor in wanted.items() if name not in given}
    foreign = {name: tensor for name, tensor in given.items() if name not in wanted}
    shapes = {n: t for n, t in wanted.items() if n in given and given[n].shape != t.shape}
    kinds = {
        n: t
        for n, t in wanted.items()
        if n in given and t.is_floating_point() and not given[n].is_floating_point()
    }
    faults = {
        "weights of the network are not in the file": [
            _beside(name, tensor, foreign) for name, tensor in missing.items()
        ],
        "weights of the file are not in the network": list(map(_shaped, foreign, foreign.values())),
        "weights have another shape": [
            f"{_shaped(name, given[name])}, the network's {tuple(tensor.shape)}"
            for name, tensor in shapes.items()
        ],
        "weights are not of real numbers": [
            f"{name} {_number(given[name])}, the network's {_number(tensor)}"
            for name, tensor in kinds.items()
        ],
    }
    said = [f"{len(each)} {what}: {_listed(each)}" for what, each in faults.items() if each]
    if said:
        if shapes and (classes := _other_classes(shapes, given)):
            said.append(classes)
        lines = "".join(f"\n  {line}" for line in said)
        raise InputError(f"{where}: does not fit the network; nothing of it was taken.{lines}")


def _other_classes(shapes: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """A sentence where all that differs is how many outputs a network has."""
    outputs = {(given[name].shape[:1], tensor.shape[:1]) for name, tensor in shapes.items()}
    rest = all(given[name].shape[1:] == tensor.shape[1:] for name, tensor in shapes.items())
    if len(outputs) != 1 or not rest or len(shapes) > SHOWN:
        return ""
    ((theirs, own),) = outputs
    if not (theirs and own):
        return ""
    return (
        f"It looks like a network for {theirs[0]} classes, and here there are {own[0]}; needed: "
        "weights that were trained for as many"
    )


def _beside(name: str, tensor: Tensor, foreign: Mapping[str, Tensor]) -> str:
    """A missing weight, and the one of the file that it may be called there."""
    alike = [other for other, each in foreign.items() if each.shape == tensor.shape]
    close = get_close_matches(name, alike, 1, 0) if alike else []
    return _shaped(name, tensor) + (f" (the file's {close[0]} has this shape)" if close else "")


def _shaped(name: str, tensor: Tensor) -> str:
    return f"{name} {tuple(tensor.shape)}"


def _number(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:SHOWN]) + (", …" if len(words) > SHOWN else "")


def _kind(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a mapping with the keys {', '.join(map(str, list(found)[:SHOWN]))}"
    return f"a {type(found).__name__}"
