"""Turn pydantic's findings into messages that a person can act on, all of them at once."""

import re
import types
from collections.abc import Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from peerlearn.errors import InputError, nearest

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], given: Any, prefix: str = "") -> Model:
    """`model.model_validate(given)`, raising one `InputError` that lists every fault.

    Args:
        model: the typed configuration.
        given: a mapping, or whatever short form the model accepts.
        prefix: the field that holds `given`, put before every path in the message.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InputError("\n".join(explain(error, model, prefix))) from None


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One line per fault: the field as typed, what was found, what is allowed, the nearest."""
    lines: list[str] = []
    for fault in error.errors():
        loc = [part for part in fault["loc"] if not _names_a_union_member(part)]
        if fault["type"] == "extra_forbidden":  # the last part is a key someone typed
            loc = [
                *(p for p in fault["loc"][:-1] if not _names_a_union_member(p)),
                fault["loc"][-1],
            ]
        path = ".".join(str(part) for part in ([prefix] if prefix else []) + loc)
        found = fault["input"]
        match fault["type"]:
            case "extra_forbidden":
                allowed = sorted(_field_names(model, loc[:-1]))
                close = nearest(str(loc[-1]), allowed)
                hint = f" Did you mean {close!r}?" if close else ""
                lines.append(f"{path}: unknown key.{hint} Allowed: {', '.join(allowed)}.")
            case "literal_error":
                allowed = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
                close = nearest(str(found), allowed)
                hint = f" Did you mean {close!r}?" if close else ""
                lines.append(f"{path}: found {found!r}.{hint} Allowed: {', '.join(allowed)}.")
            case "missing":
                lines.append(f"{path}: required, but not given.")
            case "value_error":
                inner = _field_names(model, loc)
                for said in str(fault["ctx"]["error"]).splitlines():
                    lines.append(_placed(said, path, inner))
            case _:
                message = fault["msg"][0].lower() + fault["msg"][1:]
                lines.append(f"{path}: {message}; found {found!r}.")
    return list(dict.fromkeys(lines))


def _placed(said: str, path: str, inner: Sequence[str]) -> str:
    """A validator's own words behind the path of what it checked, unless they begin with it."""
    if not path or said.startswith(path):
        return said
    names_field = re.split(r"[.:]", said, maxsplit=1)[0] in inner
    return f"{path}.{said}" if names_field else f"{path}: {said}"


def _names_a_union_member(part: str | int) -> bool:
    """Pydantic puts the tried member of a union into the path; users never typed it."""
    return isinstance(part, str) and bool(
        re.search(r"[\[(]|^(constrained-\w+|int|float|bool|str|none)$", part)
    )


def _field_names(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    for part in path:
        inner = None
        if isinstance(part, str):
            for name, field in model.model_fields.items():
                if part in (name, field.alias):
                    inner = _model_inside(field.annotation)
        elif isinstance(part, int):
            continue
        if inner is not None:
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, list, dict, tuple):
        for argument in get_args(annotation):
            if (inner := _model_inside(argument)) is not None:
                return inner
    return None
