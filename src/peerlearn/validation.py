"""Turn pydantic's findings into messages that a person can act on, all of them at once."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError, model_validator

from peerlearn.errors import InputError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], given: Any, prefix: str = "") -> Model:
    """`model.model_validate(given)`, raising one `InputError` that lists every fault.

    `prefix` is the field that holds `given`, put before every path in the message.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InputError("\n".join(explain(error, model, prefix))) from None


def short_form(*fields: str) -> Any:
    """A validator for the body of a model: a string alone is the value of `fields`."""

    def read(given: Any) -> Any:
        return dict.fromkeys(fields, given) if isinstance(given, str) else given

    return model_validator(mode="before")(read)


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One line per fault: the field as typed, what was found, what is allowed, the nearest."""
    lines: list[str] = []
    for fault in error.errors():
        kind, found, parts = fault["type"], fault["input"], list(fault["loc"])
        key = [parts.pop()] if kind == "extra_forbidden" else []  # someone typed it, whatever it is
        loc = [part for part in parts if not _names_a_union_member(part)]
        path = ".".join(str(part) for part in ([prefix] if prefix else []) + loc + key)
        match kind:
            case "extra_forbidden":
                allowed = sorted(_field_names(model, loc))
                lines.append(f"{path}: unknown key.{_suggested(key[0], allowed)}")
            case "literal_error":
                allowed = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
                lines.append(f"{path}: found {found!r}.{_suggested(found, allowed)}")
            case "missing":
                lines.append(f"{path}: required, but not given.")
            case "value_error":
                inner = _field_names(model, loc)
                said = str(fault["ctx"]["error"]).splitlines()
                lines += [_placed(line, path, inner) for line in said]
            case _:
                message = fault["msg"][0].lower() + fault["msg"][1:]
                lines.append(f"{path}: {message}; found {found!r}.")
    return list(dict.fromkeys(lines))


def _suggested(found: object, allowed: Sequence[str]) -> str:
    return f"{did_you_mean(str(found), allowed)} Allowed: {', '.join(allowed)}."


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
        for name, field in model.model_fields.items():
            if part in (name, field.alias) and (inner := _model_inside(field.annotation)):
                model = inner
                break
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inside = map(_model_inside, get_args(annotation))
    return next((model for model in inside if model is not None), None)
