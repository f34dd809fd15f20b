"""Models of the user's own, named in a configuration as `python:package.module:function`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.importing import PREFIX, imported

FORM = f"{PREFIX}package.module:function"


def build_custom(
    name: str, context: Mapping[str, Any], arguments: Mapping[str, Any], field: str
) -> nn.Module:
    """Import a factory and call it with `arguments`.

    What the data decide, `context`, is passed too where the factory names it as a parameter and
    the user has not given it: `in_shape` and `classes`, or `features` and `classes`. The current
    directory can be imported from meanwhile, as under `python -m`.

    Raises:
        InputError: no such module or attribute, arguments that do not fit, a factory that raises,
            or a result that is not a `torch.nn.Module`.
    """
    with imported(name, field, "function", "builds a model") as factory:
        return _call(factory, context, arguments, name, field)


def _call(
    factory: Callable[..., Any],
    context: Mapping[str, Any],
    arguments: Mapping[str, Any],
    name: str,
    field: str,
) -> nn.Module:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables written in C have none
        signature = inspect.Signature(
            [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)]
        )
    taken = {key: value for key, value in context.items() if key in signature.parameters}
    keywords = {**taken, **arguments}
    try:
        signature.bind(**keywords)
    except TypeError as error:
        for key in arguments:
            if key not in signature.parameters:
                allowed = set(signature.parameters) - set(context)
                raise unknown_name(f"argument of {name}", str(key), allowed, field) from None
        raise InputError(f"{field}: {name}{signature}: {error}") from None
    try:
        model = factory(**keywords)
    except Exception as error:
        raise InputError(f"{field}: {name} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{field}: {name} returned {type(model).__name__}; expected a torch.nn.Module"
        )
    return model
