"""What can go wrong, and how it is said.

Every message names the field or file as the user typed it, what was found, what is allowed and
the nearest match. The command line turns `InputError` into exit status 2, `RunError` into 1.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class PeerlearnError(Exception):
    """Base of every error this library raises on purpose."""

    def __str__(self) -> str:
        return shown(super().__str__())


class InputError(PeerlearnError, ValueError):
    """Bad usage, configuration or data: nothing has been trained or written."""


class RunError(PeerlearnError, RuntimeError):
    """A run that had started and could not go on."""


def harmless(text: str) -> str:
    """A text for a terminal, with a mark in place of control characters, which could steer it."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def shown(text: str) -> str:
    r"""A text that every stream and file takes: bytes of names that are not UTF-8 become `\xe9`."""
    if not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


def nearest(found: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that looks most like `found`, or None where none does."""
    names = {name.lower(): name for name in allowed}
    close = get_close_matches(found.lower(), names, n=1, cutoff=0.5)
    return names[close[0]] if close else None


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """A sentence with the nearest allowed name, after a space; empty where none is near."""
    match = nearest(found, allowed)
    return f" Did you mean {match!r}?" if match else ""


def similar_path(path: Path) -> str:
    """The same with the nearest of what lies beside a path that is not there."""
    match = nearest(path.name, [p.name for p in path.parent.glob("*")])
    return f" Did you mean {path.parent / match}?" if match else ""


def unknown_name(
    kind: str, found: str, allowed: Iterable[str], field: str | None = None
) -> InputError:
    """An `InputError` for a name that is not in a closed list of names.

    Args:
        kind: what the name stands for, in the singular: "model", "divergence".
        found: the name as typed.
        allowed: every name that would have been accepted.
        field: the configuration field or option that held it, as typed.
    """
    options = sorted(allowed)
    where = f"{field}: " if field else ""
    hint = did_you_mean(found, options)
    return InputError(f"{where}unknown {kind} {found!r}.{hint} Allowed: {', '.join(options)}.")


class Faults:
    """Collects every `InputError` of several checks, so that all are told at once."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Run a block; an `InputError` in it is kept for `check`."""
        try:
            yield
        except InputError as error:
            self.said += str(error).splitlines()

    def check(self) -> None:
        """Raise the `error` of what was gathered; nothing for none."""
        if self.said:
            raise self.error()

    def error(self) -> InputError:
        """One error with all that was gathered, each once."""
        return InputError("\n".join(dict.fromkeys(self.said)))
