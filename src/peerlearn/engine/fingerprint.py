"""A name for everything that a value is made of, so that equal names mean equal values."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

Plain = (str, bytes, int, float, bool, type(None), Path, Enum, torch.device, torch.dtype, type)


def fingerprint(*parts: Any) -> str:
    """A short text that differs wherever `parts` do.

    It goes through mappings, sequences, dataclasses, pydantic models, arrays, tensors, networks
    (their weights, and what their modules are set to) and functions (by name, and by what they are
    bound to).

    Raises TypeError: something of which nobody can tell what it depends on; names its type.
    """
    state = hashlib.blake2b(digest_size=8)
    for piece in _pieces(parts):
        state.update(len(piece).to_bytes(8, "little"))
        state.update(piece)
    return state.hexdigest()


def _pieces(value: Any) -> Iterator[bytes | memoryview]:
    yield type(value).__qualname__.encode()
    if isinstance(value, Plain):
        yield repr(value).encode()
    elif isinstance(value, Tensor | np.ndarray):
        array = np.ascontiguousarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        yield f"{array.dtype} {array.shape}".encode()
        yield array.reshape(-1).view(np.uint8).data
    elif isinstance(value, Mapping):
        yield from _named(value.items())
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _pieces(each)
    elif isinstance(value, set | frozenset):
        yield from _pieces(sorted(value))
    elif isinstance(value, nn.Module):
        yield from _named(value.state_dict().items())
        for name, module in value.named_modules():
            yield from _pieces([name, type(module), settings_of(module)])
    elif isinstance(value, BaseModel):
        yield from _named((name, getattr(value, name)) for name in type(value).model_fields)
        yield from _named((value.model_extra or {}).items())
    elif dataclasses.is_dataclass(value):
        yield from _named((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    elif isinstance(value, partial):
        yield from _pieces([value.func, value.args, value.keywords])
    elif isinstance(value, FunctionType | BuiltinFunctionType) and not getattr(
        value, "__closure__", None
    ):
        yield f"{value.__module__}.{value.__qualname__}".encode()
    else:
        raise TypeError(
            f"{type(value).__module__}.{type(value).__qualname__}: cannot tell what it depends on, "
            "so nothing that does can be shared between runs"
        )


def _named(items: Iterable[tuple[Any, Any]]) -> Iterator[bytes | memoryview]:
    for name, each in sorted(items, key=lambda item: str(item[0])):
        yield str(name).encode()
        yield from _pieces(each)


def settings_of(module: nn.Module) -> dict[str, Any]:
    """What a module was set to beside its weights and submodules, such as the rate of dropout."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in ("training", *module._buffers)
    }
