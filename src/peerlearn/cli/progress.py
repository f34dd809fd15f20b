"""Progress on stderr: live bars on a terminal, plain lines now and then elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from peerlearn.cli.bars import Bar
from peerlearn.cli.head import head

EVERY = 30.0
"""Seconds between two lines of a log within an epoch."""
SOON = 0.2
"""Seconds between two changes of what a terminal shows."""


class _Shown:
    """Bars one below the other and a line below them, live on a terminal."""

    def __init__(self, *bars: Bar) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self.bars, self.text = bars, ""
        self.last = self.changed = time.monotonic()
        self._screen = Live(self, console=self.console, transient=True, refresh_per_second=5)

    def __enter__(self) -> Self:
        if self.live:
            self._screen.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._screen.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.bars
        if self.text:
            yield Text(self.text, no_wrap=True, overflow="ellipsis")

    def line(self, text: str) -> None:
        """One line for logs; a terminal has the bars instead."""
        if not self.live:
            self.last = time.monotonic()
            self.tell([text])

    def tell(self, lines: Sequence[str]) -> None:
        """Lines that stay, above the bars on a terminal."""
        self.console.print("\n".join(lines), markup=False, soft_wrap=True)

    def tell_head(self, arms: Mapping[str, Any]) -> None:
        """What is about to be trained, by arm."""
        self.tell(head(arms, self.console.width if self.live else 80))

    def due(self) -> bool:
        """Whether to look at a step: a terminal a few times a second, a log now and then."""
        now = time.monotonic()
        if now - self.changed < SOON:
            return False
        self.changed = now
        return self.live or now - self.last >= EVERY


class _Run:
    """Where one training is, told by its events, and the bar that shows it."""

    def __init__(self) -> None:
        self.bar = Bar("epoch")
        self.batches: Mapping[str, int] = {}
        self.begun = False

    def begin(self, batches: Mapping[str, int]) -> None:
        """A training begins, with so many batches in each of its stages."""
        self.batches, self.begun = batches, False
        self.bar.start(total=sum(batches.values()) or None)

    def step(self, event: Mapping[str, Any]) -> None:
        """After every step: notices the first one only, the rest may be shown by `move`."""
        if not self.begun:  # what was done before, by another run, tells nothing of the time left
            self.begun = True
            total = self.bar.total or event["of"] * event["steps"]
            self.bar.start(self._done(event), total)

    def move(self, event: Mapping[str, Any]) -> None:
        """Show the place after a step or an epoch."""
        several = sum(map(bool, self.batches.values())) > 1
        self.bar.what = f"{event['stage']} epoch" if several else "epoch"
        self.bar.shown = f"{event['epoch']}/{event['of']}"
        if event["event"] == "step":
            self.bar.done, loss = self._done(event), event["loss"]
            losses = [] if loss is None else [f"loss {loss:.3g}"]
            self.bar.notes = [*losses, f"step {event['step']:,}/{event['steps']:,}"]

    def _done(self, event: Mapping[str, Any]) -> int:
        """Batches of all stages so far."""
        names = list(self.batches)
        before = names[: names.index(event["stage"])] if names else []
        return sum(self.batches[name] for name in before) + int(event["done"])

    @property
    def fraction(self) -> float:
        """How much of it is done."""
        return self.bar.done / self.bar.total if self.bar.total else 0.0


class EpochProgress(_Shown):
    """Progress of one run, step by step; `metric` is what validation selects on."""

    def __init__(self, epochs: int, metric: str = "accuracy") -> None:
        self.run = _Run()
        self.run.bar.shown = f"0/{epochs}"
        super().__init__(self.run.bar)
        self.metric = metric

    def observe(self, event: dict[str, Any]) -> None:
        """Show an event of the trainer."""
        match event["event"]:
            case "begin":
                self.run.begin(event["batches"])
                self.tell_head({event.get("arm", ""): event["facts"]})
            case "note":
                self.tell([event["text"]])
            case "step":
                self.run.step(event)
                if self.due():
                    self.run.move(event)
                    self.line(self.run.bar.words())
            case "epoch":
                self.run.move(event)
                self.text = _epoch_words(event, self.metric)
                stage = "" if event.get("stage", "mutual") == "mutual" else f"{event['stage']} "
                self.line(f"{stage}epoch {event['epoch']}/{event['of']}  {self.text}")


class RowProgress(_Shown):
    """Progress of predictions; logs get a line now and then, and none of what is done soon."""

    EVERY = 15.0
    """Seconds between two lines."""

    def __init__(self, what: str) -> None:
        self.bar = Bar(what)
        super().__init__(self.bar)
        self.what = what

    def observe(self, done: int, total: int | None = None) -> None:
        """Show how many rows are done, of how many, where that is known."""
        self.bar.done, self.bar.total = done, total
        if time.monotonic() - self.last >= self.EVERY:
            self.line(f"{done:,}/{total:,} {self.what}" if total else f"{done:,} {self.what}")


class GridProgress(_Shown):
    """Progress of a grid, in cells, with those that are being trained step by step.

    `notes` are lines that are told before it begins.
    """

    def __init__(self, cells: Sequence[Any], notes: Sequence[str] = ()) -> None:
        self.cells = Bar("cell", total=len(cells))
        self.runs: dict[str, _Run] = {}  # that are being trained, by where
        super().__init__(self.cells)
        self.metrics = {(c.arm, c.seed): c.config.evaluation.metric for c in cells}
        self.finished = 0
        self.notes = notes
        self.began = time.monotonic()

    def observe(self, event: dict[str, Any]) -> None:
        """Show an event of the grid or of the trainer in one of its cells."""
        if event["event"] == "compare":
            self.tell_head(event["facts"])
            if self.notes:
                self.tell(self.notes)
            return
        where = f"{event['arm']}, seed {event['seed']}"
        match event["event"]:
            case "cell":
                self._begin(where, event["epochs"])
            case "begin":
                self._run(where).begin(event["batches"])
            case "step":
                run = self._run(where)
                run.step(event)
                if self.due():
                    run.move(event)
                    self.cells.done = self._done
                    self.line(f"{self.cells.counter}  {where}  {run.bar.words()}")
            case "epoch":
                self._run(where).move(event)
                words = _epoch_words(event, self.metrics[event["arm"], event["seed"]])
                self.text = f"{where}  {words}"
            case "note":
                self.tell([f"{where}: {event['text']}"])
            case "cell done":
                self._finish(where)

    @property
    def _done(self) -> float:
        return self.finished + sum(run.fraction for run in self.runs.values())

    def _run(self, where: str) -> _Run:
        return self.runs.setdefault(where, _Run())

    def _begin(self, where: str, epochs: int) -> None:
        """A cell begins, or begins again where it was left."""
        total = len(self.metrics)
        self.runs[where] = _Run()
        self.runs[where].bar.shown = f"0/{epochs}"
        self.cells.shown = f"{min(self.finished + len(self.runs), total)}/{total}"
        self.text = where
        self._show()

    def _show(self) -> None:
        """A bar for each cell; where there are several, it says which one it is of."""
        several = len(self.runs) > 1
        for where, run in self.runs.items():
            run.bar.of = where if several else ""
        self.bars = (self.cells, *(run.bar for run in self.runs.values()))

    def _finish(self, where: str) -> None:
        self.finished += 1
        run = self.runs.pop(where, _Run())
        self._show()
        if not run.begun:  # it was there already, and says nothing of the time left
            self.cells.start(self._done, len(self.metrics))
        self.cells.done = self._done
        minutes = (time.monotonic() - self.began) / 60
        self.line(f"{self.finished}/{len(self.metrics)} cells  {where}  {minutes:.1f} min so far")


def _epoch_words(event: dict[str, Any], metric: str) -> str:
    """The metric of every peer on validation; where it was not measured, of training.

    That is the accuracy, or what the data asked where there is none.
    """
    for part, name, said in (
        ("val", metric, metric),
        ("train", "accuracy", "accuracy"),
        ("train", "objective", "loss"),
    ):
        found = {peer: of[name] for peer, of in event.get(part, {}).items() if name in of}
        if found:
            return f"{part} {said} " + "  ".join(f"{p} {value:.3f}" for p, value in found.items())
    return ""
