"""Progress on stderr: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from peerlearn.metrics.catalogue import Catalogue
from peerlearn.results import Results


class _Live:
    """A rich progress display, silent where stderr is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.live = console.is_terminal
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        first, last = TextColumn("{task.description}"), TextColumn("{task.fields[text]}")
        self.progress = Progress(
            first, *columns, last, console=console, transient=True, disable=not self.live
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def line(self, text: str) -> None:
        """One line for logs; a terminal has the bar instead."""
        if not self.live:
            print(text, file=sys.stderr, flush=True)


class EpochProgress(_Live):
    """Progress of one run, in epochs; `metric` is what validation selects on."""

    def __init__(self, epochs: int, metric: str = "accuracy") -> None:
        super().__init__()
        self.metric = metric
        self.task = self.progress.add_task("epochs", total=epochs, text="")

    def observe(self, event: dict[str, Any]) -> None:
        """Show an event of the trainer."""
        if event["event"] == "epoch":
            text = _epoch_words(event, self.metric)
            self.progress.update(self.task, completed=event["epoch"], total=event["of"], text=text)
            stage = "" if event.get("stage", "mutual") == "mutual" else f"{event['stage']} "
            self.line(f"{stage}epoch {event['epoch']}/{event['of']}  {text}")

    def summarise(self, results: Results, metrics: Catalogue) -> None:
        """Print the results of a run, a line a peer."""
        console = Console()
        names = dict.fromkeys([*metrics.headlines, *metrics.brief])
        for arm, block in results["arms"].items():
            console.print(f"[bold]{arm}[/], {results['data']}, seed {results['seeds'][0]}")
            rows = block["peers"] | {"mean peer": block["mean_peer"], "ensemble": block["ensemble"]}
            for who, found in rows.items():
                values = [f"{name} {found[name]['mean']:.4f}" for name in names if name in found]
                line = f"  {who:<10} {'  '.join(values)}"
                console.print(line, highlight=False, soft_wrap=True)


class RowProgress(_Live):
    """Progress of predictions; logs get a line now and then, and none of what is done soon."""

    EVERY = 15.0
    """Seconds between two lines."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.task = self.progress.add_task(what, total=None, text="")
        self.last = time.monotonic()

    def observe(self, done: int, total: int | None = None) -> None:
        """Show how many rows are done, of how many, where that is known."""
        self.progress.update(self.task, completed=done, total=total)
        if time.monotonic() - self.last >= self.EVERY:
            self.last = time.monotonic()
            self.line(f"{done:,}/{total:,} {self.what}" if total else f"{done:,} {self.what}")


class GridProgress(_Live):
    """Progress of a grid, in cells, with the epoch of the present one."""

    def __init__(self, cells: Sequence[Any]) -> None:
        super().__init__()
        self.total = len(cells)
        self.done = 0
        self.metrics = {(c.arm, c.seed): c.config.evaluation.metric for c in cells}
        self.began = time.monotonic()
        self.cells = self.progress.add_task("cells", total=self.total, text="")
        self.epochs = self.progress.add_task("epochs", total=None, text="")

    def observe(self, event: dict[str, Any]) -> None:
        """Show an event of the grid or of the trainer in one of its cells."""
        where = f"{event['arm']}, seed {event['seed']}"
        match event["event"]:
            case "cell":
                self.progress.reset(self.epochs, total=event["epochs"], text=where)
            case "epoch":
                epoch, total = event["epoch"], event["of"]
                words = _epoch_words(event, self.metrics[event["arm"], event["seed"]])
                text = f"{where}  {words}"
                self.progress.update(self.epochs, completed=epoch, total=total, text=text)
            case "cell done":
                self.done += 1
                self.progress.update(self.cells, completed=self.done)
                minutes = (time.monotonic() - self.began) / 60
                self.line(f"{self.done}/{self.total} cells  {where}  {minutes:.1f} min so far")


def _epoch_words(event: dict[str, Any], metric: str) -> str:
    """The metric of every peer on validation; where it was not measured, the training accuracy."""
    measured = any(metric in metrics for metrics in event.get("val", {}).values())
    part, metric = ("val", metric) if measured else ("train", "accuracy")
    peers = [f"{name} {m[metric]:.3f}" for name, m in event[part].items() if metric in m]
    return f"{part} {metric} " + "  ".join(peers)
