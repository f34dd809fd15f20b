"""The arguments of a model: what they may be, and what is said when they are not.

A builder's own signature is the only list of its arguments: names, defaults and allowed values.
"""

import inspect
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from peerlearn.errors import InputError, unknown_name

Count = Annotated[int, Field(strict=True, ge=1, le=1 << 16)]
Size = Annotated[int, Field(strict=True, ge=0, le=1 << 16)]
Depth = Annotated[int, Field(strict=True, ge=1, le=1000)]
Units = Annotated[int, Field(strict=True, ge=0, le=100)]
Levels = Annotated[int, Field(strict=True, ge=1, le=10)]  # each halves an image
Number = Annotated[int, Field(strict=True, ge=1)]
Factor = Annotated[float, Field(strict=True, gt=0, le=1 << 16, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
SomeShare = Annotated[float, Field(strict=True, gt=0, le=1)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1 << 16)]


B = TypeVar("B", bound=Callable[..., Any])


def argument_defaults(builder: Callable[..., Any]) -> dict[str, Any]:
    """The user's arguments of a builder, which are its keyword-only ones, with their defaults."""
    return {name: it.default for name, it in _keyword_only(builder).items()}


def passing_on(target: Callable[..., Any], *fixed: str) -> Callable[[B], B]:
    """Show the arguments that a builder passes on by `**others` in its signature.

    They are the keyword-only ones of `target`, which it calls, but for `fixed` ones that it gives
    itself. A builder that has one of them itself gives it another default; one of its own stands
    behind the one that it follows there.
    """

    def decorate(builder: B) -> B:
        signature = inspect.signature(builder)
        own, passed = _keyword_only(builder), _keyword_only(target)
        names = [name for name in passed if name not in fixed]
        for before, name in pairwise(own):
            if name not in names:
                names.insert(names.index(before) + 1, name)
        positional = [
            it for it in signature.parameters.values() if it.kind is it.POSITIONAL_OR_KEYWORD
        ]
        shown = [(passed | own)[name] for name in names]
        builder.__signature__ = signature.replace(parameters=[*positional, *shown])  # type: ignore[attr-defined]
        return builder

    return decorate


def _keyword_only(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters.items()
    return {name: it for name, it in parameters if it.kind is it.KEYWORD_ONLY}


def check_arguments(
    model: str, builder: Callable[..., Any], arguments: Mapping[str, Any], field: str
) -> dict[str, Any]:
    """The arguments as the builder's annotations read them.

    Raises InputError: an unknown name, or a value of the wrong type or out of range.
    """
    parameters = inspect.signature(builder).parameters
    allowed = argument_defaults(builder)
    checked = {}
    for name, value in arguments.items():
        if name not in allowed:
            raise unknown_name(f"{model} argument", str(name), allowed, field)
        try:
            checked[name] = TypeAdapter(parameters[name].annotation).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].replace("Input", "input", 1)
            message = f"{field}: {model} argument {name} = {value!r}: {reason}"
            raise InputError(message) from None
    return checked


def check_shape(in_shape: Any, field: str) -> tuple[int, ...]:
    """A sample's shape as a tuple; `InputError` unless it is (C, H, W) or (F,), all positive."""
    try:
        shape = TypeAdapter(tuple[Number, ...]).validate_python(tuple(in_shape))
    except (TypeError, ValidationError):
        shape = ()
    if len(shape) not in (1, 3):
        raise InputError(
            f"{field}: in_shape = {in_shape!r}: expected (channels, height, width) or (features,), "
            "all of them positive integers"
        )
    return shape


def check_count(name: str, value: Any, field: str) -> int:
    """What the data say there are of something; `InputError` unless it is a positive integer."""
    try:
        return TypeAdapter(Number).validate_python(value)
    except ValidationError:
        message = f"{field}: {name} = {value!r}: expected a positive integer"
        raise InputError(message) from None
