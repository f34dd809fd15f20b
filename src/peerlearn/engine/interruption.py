"""Signals that ask a process to end, taken between two steps instead of in the middle of one.

Those are Ctrl-C, what a terminal or a connection sends that goes away (HUP), and what schedulers
send some time before they kill (TERM, USR1, USR2). One that was set to be ignored, as `nohup` does,
or that another part of the program handles, is left as it is.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

#: Those that the platform has.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
UNFINISHED = 75
"""Exit status of what may be run again to be finished: EX_TEMPFAIL of `sysexits.h`."""


class Interrupted(KeyboardInterrupt):
    """A signal asked to end.

    Attributes:
        number: of the signal.
        saved: how far things are saved, in words; empty where whoever raised it does not know.
    """

    def __init__(self, number: int, saved: str = "") -> None:
        super().__init__(number, saved)
        self.number = number
        self.saved = saved

    @property
    def status(self) -> int:
        """Exit status: 130 after Ctrl-C, as shells have it, else `UNFINISHED`."""
        return 130 if self.number == signal.SIGINT else UNFINISHED

    def __str__(self) -> str:
        if self.number == signal.SIGINT:
            return "interrupted"
        return f"stopped by {signal.Signals(self.number).name}"


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler that acts at once."""
    raise Interrupted(number)


def interrupt_at_once() -> None:
    """From now on signals raise `Interrupted`, in place of an end without a word."""
    _handle(interrupt)


class Interruption:
    """Within this context the first signal is only noted in `requested`; a second one acts.

    Outside the main thread, where Python has no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested: int = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = _handle(self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise Interrupted(number)
        self.requested = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Set a handler for all signals that nobody else takes care of; gives those before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = (signal.SIG_DFL, signal.default_int_handler, interrupt)
    taken = {number: found for number, found in before.items() if found in ours}
    for number in taken:
        signal.signal(number, handler)
    return taken
