"""Models of the user's own, named in a configuration as `python:package.module:function`."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from peerlearn.errors import InputError, nearest, unknown_name

PREFIX = "python:"
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
    module_name, separator, attribute = name.removeprefix(PREFIX).partition(":")
    if not (module_name and separator and attribute):
        raise InputError(f"{field}: {name!r} is not of the form {FORM}")
    with _current_directory_importable():
        module = _import(module_name, name, field)
        factory = _attribute(module, attribute, field)
        return _call(factory, context, arguments, name, field)


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _import(module_name: str, name: str, field: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        # The module itself, or a package above it; not something that its own code imports.
        if missing and f"{module_name}.".startswith(f"{missing}."):
            match = nearest(missing.rpartition(".")[2], _siblings(missing))
            hint = f" Did you mean {match!r}?" if match else ""
            raise InputError(
                f"{field}: {name!r}: no module {missing!r} in the current directory or among the "
                f"installed packages.{hint}"
            ) from None
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{field}: {name!r}: importing {module_name} failed: {reason}") from error


def _siblings(missing: str) -> list[str]:
    """Names that can be imported beside a missing module, in its package or at the top."""
    package = sys.modules.get(missing.rpartition(".")[0])
    if package is None:
        return [found.name for found in pkgutil.iter_modules()]
    return [found.name for found in pkgutil.iter_modules(getattr(package, "__path__", []))]


def _attribute(module: ModuleType, attribute: str, field: str) -> Callable[..., Any]:
    found = getattr(module, attribute, None)
    if callable(found):
        return found
    if hasattr(module, attribute):
        raise InputError(
            f"{field}: {attribute!r} of {module.__name__} is {type(found).__name__}, not a "
            f"function that builds a model. Functions there: {', '.join(_functions(module))}."
        )
    raise unknown_name(f"function of {module.__name__}", attribute, _functions(module), field)


def _functions(module: ModuleType) -> list[str]:
    """Public callables that a module defines, or, where it defines none, those it passes on."""
    public = {
        key: getattr(value, "__module__", None)
        for key, value in sorted(vars(module).items())
        if callable(value) and not key.startswith("_")
    }
    return [key for key, home in public.items() if home == module.__name__] or list(public)


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
