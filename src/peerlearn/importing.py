"""What a configuration names by `python:package.module:NAME`: the user's own code.

A name runs what it stands for, so it is taken from what a user typed, from a recipe file that they
gave to `run` or `compare`, and from Python calls of theirs. Whatever else is read (a run folder
that is opened, a file that is validated) is data: there `trusting` holds; other names are refused.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from peerlearn.errors import InputError, did_you_mean, unknown_name

PREFIX = "python:"

#: Names that may be imported now; None for all.
_trusted: ContextVar[frozenset[str] | None] = ContextVar("trusted", default=None)


@contextmanager
def trusting(names: Iterable[str]) -> Iterator[None]:
    """Run a block that reads data of others: code is imported by `names` alone."""
    before = _trusted.set(frozenset(names))
    try:
        yield
    finally:
        _trusted.reset(before)


def code_in(config: Any, field: str = "") -> dict[str, str]:
    """The `python:` names in plain data, by the field that holds them."""
    if isinstance(config, str):
        return {field: config} if config.startswith(PREFIX) else {}
    if isinstance(config, Mapping):
        inner: Iterable[tuple[Any, Any]] = config.items()
    else:
        inner = enumerate(config) if isinstance(config, list | tuple) else ()
    found: dict[str, str] = {}
    for key, value in inner:
        found |= code_in(value, f"{field}.{key}" if field else str(key))
    return found


def refuse_code(config: Any, path: Path) -> None:
    """Raise `InputError`, which lists them, where data from `path` name code to run."""
    if found := code_in(config):
        lines = [f"{field}: {name!r}" for field, name in found.items()]
        raise InputError(
            f"{path}: names code, which is not run unless you trust this file:\n  "
            + "\n  ".join(lines)
            + "\nread it, then allow it: --trust (in Python: trust=True)"
        )


@contextmanager
def imported(name: str, field: str, noun: str, purpose: str) -> Iterator[Callable[..., Any]]:
    """The callable `python:package.module:NAME`.

    The current directory can be imported from meanwhile, as under `python -m`. `noun` and `purpose`
    say what is expected, such as a "function" that "builds a model".

    Raises InputError: another form, a name that is not trusted here, no such module or attribute,
    or one that cannot be called.
    """
    module_name, separator, attribute = name.removeprefix(PREFIX).partition(":")
    if not (module_name and separator and attribute):
        raise InputError(f"{field}: {name!r} is not of the form {PREFIX}package.module:{noun}")
    allowed = _trusted.get()
    if allowed is not None and name not in allowed:
        raise InputError(f"{field}: {name!r} is not run unless you trust what names it: --trust")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = _import(module_name, name, field)
        yield _attribute(module, attribute, field, noun, purpose)
    finally:
        if here in sys.path:
            sys.path.remove(here)


def result_of(name: str, field: str, purpose: str) -> Any:
    """What the function `python:package.module:NAME` gives, called without arguments.

    Raises InputError: as `imported`, or the function fails.
    """
    with imported(name, field, "function", purpose) as function:
        try:
            return function()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{field}: {name} raised {type(error).__name__}: {error}") from error


def _import(module_name: str, name: str, field: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        # The module itself, or a package above it; not something that its own code imports.
        if missing and f"{module_name}.".startswith(f"{missing}."):
            hint = did_you_mean(missing.rpartition(".")[2], _siblings(missing))
            raise InputError(
                f"{field}: {name!r}: no module {missing!r} in the current directory or among the "
                f"installed packages.{hint}"
            ) from None
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{field}: {name!r}: importing {module_name} failed: {reason}") from error


def _siblings(missing: str) -> list[str]:
    """Names that can be imported beside a missing module, in its package or at the top."""
    package = sys.modules.get(missing.rpartition(".")[0])
    path = None if package is None else getattr(package, "__path__", [])
    return [found.name for found in pkgutil.iter_modules(path)]


def _attribute(
    module: ModuleType, attribute: str, field: str, noun: str, purpose: str
) -> Callable[..., Any]:
    found = getattr(module, attribute, None)
    if callable(found):
        return found
    there = _callables(module)
    if hasattr(module, attribute):
        raise InputError(
            f"{field}: {attribute!r} of {module.__name__} is {type(found).__name__}, not a "
            f"{noun} that {purpose}. {noun.capitalize()}s there: {', '.join(there)}."
        )
    raise unknown_name(f"{noun} of {module.__name__}", attribute, there, field)


def _callables(module: ModuleType) -> list[str]:
    """Public callables that a module defines, or, where it defines none, those it passes on."""
    public = {
        key: getattr(value, "__module__", None)
        for key, value in sorted(vars(module).items())
        if callable(value) and not key.startswith("_")
    }
    return [key for key, home in public.items() if home == module.__name__] or list(public)
