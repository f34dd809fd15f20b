"""Verbs that are asked to end by a signal: what they say, and the exit status."""

import functools
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peerlearn.cli import launch
from peerlearn.engine.interruption import Interrupted


def interruptible(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, which a signal ends with a line on stderr and exit status 130 or 75."""

    @functools.wraps(verb)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return verb(*args, **options)
        except KeyboardInterrupt as stop:
            raise _stopped(stop, "nothing was saved; run the same command again") from None

    return run


@contextmanager
def resumable(folder: Path, begun: str = "config.yaml") -> Iterator[None]:
    """Run a block that writes into `folder`; a signal says what is saved and how to go on.

    The file `begun`, or else `config.yaml`, is in it once something is.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if not any((folder / name).exists() for name in (begun, "config.yaml")):
            raise
        typed = [word for word in sys.argv[1:] if word != "--resume"]
        given = any(word.partition("=")[0] == "--out" for word in typed)
        named = [] if given else ["--out", str(folder)]
        command = shlex.join([*launch.command(), *typed, *named, "--resume"])
        saved = getattr(stop, "saved", "") or _found(folder)
        raise _stopped(stop, f"{saved}; continue with: {command}") from None


def _found(folder: Path) -> str:
    """What is there where nobody has said how far things are saved."""
    if (folder / "results.json").exists():
        return "the results are saved, the report is not written"
    if (folder / "cells").is_dir():
        done = len([*folder.glob("cells/*/*/results.json")])
        return f"{done} {'cell is' if done == 1 else 'cells are'} finished"
    if (folder / "checkpoints" / "last").is_dir():
        return f"the last checkpoint is in {folder / 'checkpoints' / 'last'}"
    return "no epoch is saved yet"


def _stopped(stop: KeyboardInterrupt, what: str) -> SystemExit:
    """What to raise after a line on stderr."""
    stop = stop if isinstance(stop, Interrupted) else Interrupted(2)
    print(f"{stop}; {what}", file=sys.stderr)
    return SystemExit(stop.status)
