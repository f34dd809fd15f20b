"""Tries a case: it works or is refused with a message; all else is a fault."""

import importlib
import io
import os
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Literal, NamedTuple
from unittest import mock

import torch

import peerlearn
from benchmarks.faults.fuzzing.calls import CALLS
from benchmarks.faults.fuzzing.case import Case
from benchmarks.faults.fuzzing.fence import fenced
from peerlearn.cli import main
from peerlearn.errors import InputError, RunError

LIMIT = 20.0
"""Seconds that a case may take."""
GROWTH = 1024**3
"""Bytes by which a case may make the process larger."""
PACKAGE = Path(peerlearn.__file__).parent

# What asks other programs, or makes files of its own, once.
platform.processor()
importlib.import_module("matplotlib.font_manager")

Status = Literal["worked", "refused", "fault"]


class Verdict(NamedTuple):
    """What became of a case.

    `what` is the message of a refusal, or the fault; `where` tells faults of one kind from others.
    """

    status: Status
    what: str
    where: str
    seconds: float


class TooLong(BaseException):
    """The case took more than its time; nothing in the package catches it."""


def judged(case: Case, limit: float = LIMIT) -> Verdict:
    """Try a case in a folder of its own, which is removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder = home / "here"
    folder.mkdir()
    case.lay_out(folder)
    before = time.perf_counter()
    memory = _peak()
    allowed = [folder / path for path in case.out] + [home / "home", home / "tmp"]
    try:
        with _surroundings(home), fenced(allowed) as fence, _time(limit):
            status, what, where = _tried(case)
    except TooLong as error:
        status, what, where = "fault", f"hang: more than {limit:g} s", _place(error)
    finally:
        seconds = time.perf_counter() - before
        shutil.rmtree(home, ignore_errors=True)
    if fence.executed:
        status, what, where = "fault", f"executed: {fence.executed[0]}", "executed"
    elif fence.outside:
        inside = fence.outside[0].removeprefix(f"{folder.resolve()}/")
        status, what, where = "fault", f"written outside: {inside}", f"outside {case.words[0]}"
    elif status != "fault" and _peak() - memory > GROWTH:
        grown = (_peak() - memory) / 1024**3
        status, what, where = "fault", f"memory: grew by {grown:.1f} GiB", "memory"
    return Verdict(status, what, where, seconds)


def _tried(case: Case) -> tuple[Status, str, str]:
    said = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2)]
    with redirect_stdout(said[0]), redirect_stderr(said[1]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if case.words[0] in CALLS:
                CALLS[case.words[0]](*case.words[1:])
                return "worked", "", ""
            with mock.patch.object(sys, "argv", ["peerlearn", *case.words]):
                main()
            return "worked", "", ""
        except (InputError, RunError) as error:
            return _refusal(str(error))
        except SystemExit as error:
            return _exit(error.code, _text(said[1]))
        except KeyboardInterrupt:
            raise
        except Exception as error:
            lines = traceback.format_exception(error)
            kind = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            # A result file says which line it was, and nothing of the machine.
            what = f"{kind}\n{''.join(lines[-12:])}".replace(f"{PACKAGE.parents[1]}/", "")
            return "fault", what, f"{_kind(error)} {_place(error)}"


def _exit(code: object, err: str) -> tuple[Status, str, str]:
    if code in (0, None):
        return "worked", "", ""
    if code not in (1, 2):
        return "fault", f"exit status {code!r}: {err[-300:]}", f"exit {code!r}"
    if "Traceback (most recent" in err:
        return "fault", err[-2000:], "a traceback is printed"
    return _refusal(err)


def _refusal(message: str) -> tuple[Status, str, str]:
    if not message.strip():
        return "fault", "refused without a word", "no message"
    return "refused", message, ""


def _text(stream: io.TextIOWrapper) -> str:
    with suppress(ValueError):
        stream.flush()
    raw = stream.buffer
    return raw.getvalue().decode(errors="replace") if isinstance(raw, io.BytesIO) else ""


def _kind(error: BaseException) -> str:
    return type(error).__name__


def _place(error: BaseException) -> str:
    """The innermost line of the package on the way to an error."""
    place = "outside of the package"
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(str(PACKAGE)):
            place = f"{Path(frame.filename).relative_to(PACKAGE)}:{frame.name}"
    return place


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def _time(limit: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit, 1)  # again, where something caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _surroundings(home: Path) -> Iterator[None]:
    """The folder of a case as a user's, and everything as it was afterwards."""
    here, threads = Path.cwd(), torch.get_num_threads()
    path, modules, state = list(sys.path), set(sys.modules), random.getstate()
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    (home / "home").mkdir()
    (home / "tmp").mkdir()
    told = {"HOME": str(home / "home"), "PEERLEARN_DATA": str(home / "none"), "COLUMNS": "100"}
    os.chdir(home / "here")
    try:
        with (
            mock.patch.dict(os.environ, told),
            mock.patch.object(tempfile, "tempdir", str(home / "tmp")),
            mock.patch.object(sys, "dont_write_bytecode", True),
        ):
            yield
    finally:
        os.chdir(here)
        sys.path[:] = path
        random.setstate(state)
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] == "canary":
                del sys.modules[name]
        for each, handler in handlers.items():
            signal.signal(each, handler)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
