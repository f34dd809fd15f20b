"""Arms side by side, for the terminal and for a README.

Every cell holds a value ± its standard deviation over seeds and, below it, the difference to the
reference arm and its 95 % interval. A word says which is better only where the interval excludes
zero.
"""

from collections.abc import Iterator
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from peerlearn.metrics.catalogue import Catalogue, Metric
from peerlearn.report.statistics import Contrast
from peerlearn.report.words import TOGETHER, who_label
from peerlearn.results import Arm, Measured, Results

_VERDICT = {"arm": "better", "against": "worse", None: ""}
_STYLE = {"arm": "green", "against": "red", None: "dim"}


class Column(NamedTuple):
    """One metric of the mean peer or the ensemble."""

    who: str
    metric: Metric

    @property
    def scale(self) -> float:
        """Fractions are shown in percent."""
        return 100.0 if self.metric.is_fraction else 1.0

    @property
    def digits(self) -> int:
        """Decimals shown: 0.01 % of a fraction, 0.01 pixel, 0.001 nat."""
        return 2 if self.metric.unit else 3

    @property
    def title(self) -> str:
        """Who and, on a second line, what, with its unit."""
        return f"{who_label(self.who)}\n{_words(self.metric.label, self.metric.unit)}"

    def measured(self, arm: Arm) -> Measured:
        """What an arm holds of the mean peer or the ensemble."""
        return arm.get("mean_peer", {}) if self.who == "mean_peer" else arm.get("ensemble", {})


class Cell(NamedTuple):
    """The texts of a cell, and which side of the difference is better, if that is known."""

    value: str = ""
    difference: str = ""
    interval: str = ""
    side: str | None = None


def comparison_table(results: Results, metrics: Catalogue) -> Table:
    """The arms of a results.json as a table for the terminal."""
    columns = _columns(results, metrics)
    table = Table(
        title=_title(results),
        caption=Text(_footnote(results)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("arm", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right")
    for arm, cells in _rows(results, metrics, columns):
        # Text, not markup: "[+0.1, +0.9]" would be read as a style.
        table.add_row(Text(arm), *map(_as_text, cells))
    return table


def markdown_table(results: Results, metrics: Catalogue) -> str:
    """The same table as GitHub-flavoured Markdown, footnote included."""
    columns = _columns(results, metrics)
    lines = [
        _markdown_row(["arm", *(column.title for column in columns)]),
        _markdown_row(["---", *("---:" for _ in columns)]),
        *(
            _markdown_row([arm, *map(_as_markdown, cells)])
            for arm, cells in _rows(results, metrics, columns)
        ),
    ]
    return "\n".join([*lines, "", _footnote(results), ""])


def _columns(results: Results, metrics: Catalogue) -> list[Column]:
    """What was measured: the headline metric of mean peer and ensemble, the rest of mean peer."""
    arms = results["arms"].values()

    def measured(column: Column) -> bool:
        return any(column.metric.name in column.measured(arm) for arm in arms)

    columns: list[Column] = []
    for metric in (metrics[name] for name in metrics.brief):
        mean_peer, ensemble = (Column(who, metric) for who in TOGETHER)
        heads = not any(column.metric.headline for column in columns) and metric.headline
        shown = (mean_peer, ensemble) if heads else (mean_peer,)
        columns += [column for column in shown if measured(column)]
    return columns


def _rows(
    results: Results, metrics: Catalogue, columns: list[Column]
) -> Iterator[tuple[str, list[Cell]]]:
    read = [Contrast.read(entry, metrics) for entry in results.get("differences", [])]
    entries = {(entry.arm, entry.who, entry.metric.name): entry for entry in read}
    for arm, block in results["arms"].items():
        yield (
            arm,
            [_cell(block, entries.get((arm, c.who, c.metric.name)), c) for c in columns],
        )


def _cell(arm: Arm, entry: Contrast | None, column: Column) -> Cell:
    found = column.measured(arm).get(column.metric.name)
    if found is None:
        return Cell()
    scale, digits = column.scale, column.digits
    value = f"{found['mean'] * scale:.{digits}f}"
    if len(found["values"]) > 1:
        value += f" ± {found['std'] * scale:.{digits}f}"
    if entry is None:
        return Cell(value)
    difference = f"{entry.mean * scale:+.{digits}f}"
    interval = ""
    if entry.interval is not None:
        low, high = (f"{bound * scale:+.{digits}f}" for bound in entry.interval)
        interval = f"[{low}, {high}]"
    return Cell(value, difference, interval, entry.winner)


def _as_text(cell: Cell) -> Text:
    text = Text(cell.value)
    # One below the other: four metrics with intervals then fit into 80 columns.
    for line in (_words(cell.difference, _VERDICT[cell.side]), cell.interval):
        if line:
            text.append("\n" + line, style=_STYLE[cell.side])
    return text


def _as_markdown(cell: Cell) -> str:
    if not cell.difference:
        return cell.value
    difference = _words(cell.difference, cell.interval, _VERDICT[cell.side])
    return f"{cell.value}<br>" + (f"**{difference}**" if cell.side == "arm" else difference)


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _title(results: Results) -> Text:
    return Text(f"{results['recipe']} on {results['data']}")


def _footnote(results: Results) -> str:
    seeds, entries = results["seeds"], results.get("differences", [])
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        note = f"One seed ({listed}): no spread over seeds can be given."
    else:
        note = f"n = {len(seeds)} seeds ({listed}); ± is the standard deviation over seeds."
    if not entries:
        return note
    against = entries[0]["against"]
    note += f" Below each value: difference to {against}, paired by seed"
    if len(seeds) == 1:
        return f"{note}; with one pair it has no interval, and nothing is called better."
    return (
        f"{note}, with its 95 % Student t interval; "
        "better or worse only where the interval excludes zero."
    )
