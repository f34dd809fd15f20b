"""Turn pydantic's findings into messages that a person can act on, all of them at once."""

import math
import re
import sys
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from peerlearn.errors import InputError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


#: Beyond it numbers are infinite, or as good as that, in the format of networks.
LARGEST, LARGEST_WHOLE = 1e30, (1 << 63) - 1


class Spec(BaseModel):
    """Base of every typed configuration: values are what was typed, unknown keys are refused.

    A text is no number and no truth value, true is no number, and there are no infinities. A whole
    number may be written as 1e4.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_typed(cls, given: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if field is not None and (fault := misread(field.annotation, given)):
            raise ValueError(fault)
        return given


_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def misread(annotation: Any, given: Any) -> str:
    """What is wrong with a value that would be read as another than was typed; empty for nothing.

    Such are texts and truth values in place of numbers, and numbers in place of truth values. What
    else does not fit an annotation is left to pydantic.
    """
    if isinstance(given, list | tuple):
        inner = {arg for part in _parts(annotation) for arg in _items(part)}
        faults = (fault for each in given if (fault := misread(Union[tuple(inner)], each)))  # noqa: UP007
        return next(faults, "") if inner else ""
    if not isinstance(given, bool | int | float | str):
        return ""
    if isinstance(given, int) and abs(given) > sys.float_info.max:  # nothing could print it
        return "found a whole number of hundreds of digits"
    parts = [part for part in _parts(annotation) if not _items(part)]
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    plain = {part for part in parts if get_origin(part) is not Literal} - {NoneType}
    if not plain or not plain <= set(_EXPECTED) or any(_same(given, word) for word in words):
        return ""
    if isinstance(given, bool | str):
        fits = type(given) in plain
    else:
        fits = bool(plain & {int, float}) or bool not in plain
        largest = LARGEST if float in plain else LARGEST_WHOLE
        if plain & {int, float} and math.isfinite(given) and abs(given) > largest:
            return f"found {given:.3g}; allowed: up to {largest:.3g}"
    if fits:
        return ""
    found = str(given).lower() if isinstance(given, bool) else repr(given)
    allowed = [*map(repr, words), *(said for kind, said in _EXPECTED.items() if kind in plain)]
    return f"found {found}; expected {' or '.join(allowed)}"


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _parts(annotation: Any) -> list[Any]:
    """The members of a union, without what stands beside them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _parts(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [part for each in get_args(annotation) for part in _parts(each)]
    return [annotation]


def _items(annotation: Any) -> list[Any]:
    """What a list or a tuple holds."""
    if get_origin(annotation) not in (list, tuple, Sequence):
        return []
    return [each for each in get_args(annotation) if each is not Ellipsis]


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
            case "model_type":
                keys = ", ".join(_field_names(model, loc))
                lines.append(f"{path}: found {found!r}; expected a mapping, of {keys}.")
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
