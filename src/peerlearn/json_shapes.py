"""What a value read from JSON must be like, written as a value of the same form."""

from pathlib import Path
from typing import Any, NamedTuple

from peerlearn.errors import InputError


class Kind(NamedTuple):
    """What a single value may be."""

    types: tuple[type, ...]
    words: str


NUMBER = Kind((int, float, type(None)), "a number or null")
WHOLE = Kind((int,), "a whole number")
TEXT = Kind((str,), "a text")
EACH = "*"
"""In place of a key: every one."""


def check_shape(value: Any, shape: Any, path: Path, where: str) -> None:
    """See that a part of a JSON file has a shape, else InputError: file, part and what it needs.

    A shape is a `Kind`, a list with the shape of each item, or a mapping from keys that must be
    there (`EACH`: from all of them) to the shapes of their values.
    """
    if isinstance(shape, Kind):
        if not isinstance(value, shape.types) or isinstance(value, bool):
            raise InputError(f"{path}: {where} must be {shape.words}, found {_short(value)}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise InputError(f"{path}: {where} must be a list, found {_short(value)}")
        for number, each in enumerate(value):
            check_shape(each, shape[0], path, f"{where}[{number}]")
    else:
        if not isinstance(value, dict):
            raise InputError(f"{path}: {where} must be a JSON object, found {_short(value)}")
        for key, inner in shape.items():
            if key != EACH and key not in value:
                raise InputError(f"{path}: {where}.{key}: missing")
            for name in value if key == EACH else (key,):
                check_shape(value[name], inner, path, f"{where}.{name}")


def _short(value: Any) -> str:
    said = "null" if value is None else repr(value)
    return said if len(said) <= 60 else f"{said[:57]}…"
