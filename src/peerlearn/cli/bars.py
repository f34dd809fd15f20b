"""Lines with a bar that fit any width: counters and the time left are never cut."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SHORTEST = 8
"""Columns below which a bar says nothing and is left out."""
LONGEST = 40


@dataclass
class Bar:
    """Something that is done little by little.

    Attributes:
        what: in front of the count, "epoch".
        done: how much of it is done; the bar shows this.
        total: of how much; None where nobody knows.
        shown: the counter, where it is not `done` of `total`.
        of: of which thing it is, where several are shown.
        notes: behind the bar where there is room, those that matter most first.
        began: the time at which `first` were done.
    """

    what: str
    done: float = 0
    total: float | None = None
    shown: str = ""
    of: str = ""
    notes: Sequence[str] = ()
    first: float = 0
    began: float = field(default_factory=time.monotonic)

    def start(self, done: float = 0, total: float | None = None) -> None:
        """Begin anew: what was done before does not tell how long the rest takes."""
        self.done = self.first = done
        self.total, self.began, self.notes = total, time.monotonic(), ()

    @property
    def counter(self) -> str:
        """`epoch 3/30`."""
        if self.shown:
            return f"{self.what} {self.shown}"
        of = "" if self.total is None else f"/{self.total:,.0f}"
        return f"{self.what} {self.done:,.0f}{of}"

    @property
    def left(self) -> str:
        """The time left, `1:05 left`; dashes before anything can be said."""
        done, now = self.done - self.first, time.monotonic()
        if self.total is None or done <= 0:
            return "-:-- left"
        return f"{clock((now - self.began) * (self.total - self.done) / done)} left"

    def words(self) -> str:
        """All of it as plain text."""
        return "  ".join([self.counter, *self.notes, self.left])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - 1  # the last column of some terminals breaks the line
        left, notes = f"{self.of}  {self.counter}" if self.of else self.counter, list(self.notes)
        room = width - len(left) - len(self.left) - 4
        while notes and sum(len(note) + 2 for note in notes) > room - SHORTEST:
            notes.pop()
        right = "  ".join([*notes, self.left])
        bar = min(LONGEST, width - len(left) - len(right) - 4)
        line = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        line.add_column(no_wrap=True)
        parts: list[Text | ProgressBar] = [Text(left)]
        if bar >= SHORTEST:
            line.add_column(width=bar)
            parts.append(ProgressBar(self.total, self.done, width=bar))
        line.add_column(no_wrap=True)
        line.add_row(*parts, Text(right, style="dim"))
        yield line


def clock(seconds: float) -> str:
    """`0:07`, `12:05`, `3:02:11`."""
    minutes, second = divmod(round(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
