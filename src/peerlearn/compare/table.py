"""Arms side by side, for the terminal and for a README.

Every cell holds a value ± its standard deviation over seeds and, below it, the difference to the
reference arm and its 95 % interval. A word says which is better only where the interval excludes
zero.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from peerlearn.compare.report_words import metric_label, unit, who_label
from peerlearn.compare.statistics import better

_WHO = ("mean_peer", "ensemble")
# The first of these that was measured is shown of the ensemble too.
_HEADLINES = ("iou", "cluster_accuracy", "recall@20", "acc", "accuracy", "dice")
_FURTHER = (
    *("nll", "ece", "nmi", "old_accuracy", "new_accuracy", "known_accuracy"),
    *("ndcg@20", "asr", "hd95"),
)
_VERDICT = {"arm": "better", "against": "worse", None: ""}
_STYLE = {"arm": "green", "against": "red", None: "dim"}


class Column(NamedTuple):
    """One metric of the mean peer or the ensemble."""

    who: str
    metric: str

    @property
    def scale(self) -> float:
        """Fractions are shown in percent."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def digits(self) -> int:
        """Decimals shown: 0.01 % of a fraction, 0.01 pixel, 0.001 nat."""
        return 2 if self.unit else 3

    @property
    def unit(self) -> str:
        """What the value is shown in; empty for a bare number."""
        return unit(self.metric)

    @property
    def title(self) -> str:
        """Who and, on a second line, what, with its unit."""
        return f"{who_label(self.who)}\n{_words(metric_label(self.metric), self.unit)}"


class Cell(NamedTuple):
    """The texts of a cell, and which side of the difference is better, if that is known."""

    value: str = ""
    difference: str = ""
    interval: str = ""
    side: str | None = None


def comparison_table(results: Mapping[str, Any]) -> Table:
    """The arms of a results.json as a table for the terminal."""
    columns = _columns(results["arms"])
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
    for arm, cells in _rows(results, columns):
        # Text, not markup: "[+0.1, +0.9]" would be read as a style.
        table.add_row(Text(arm), *map(_as_text, cells))
    return table


def markdown_table(results: Mapping[str, Any]) -> str:
    """The same table as GitHub-flavoured Markdown, footnote included."""
    columns = _columns(results["arms"])
    lines = [
        _markdown_row(["arm", *(column.title for column in columns)]),
        _markdown_row(["---", *("---:" for _ in columns)]),
        *(
            _markdown_row([arm, *map(_as_markdown, cells)])
            for arm, cells in _rows(results, columns)
        ),
    ]
    return "\n".join([*lines, "", _footnote(results), ""])


def _columns(arms: Mapping[str, Any]) -> list[Column]:
    """What was measured: the headline metric of mean peer and ensemble, the rest of mean peer."""

    def measured(who: str, metric: str) -> bool:
        return any(metric in block.get(who, {}) for block in arms.values())

    headline = next((m for m in _HEADLINES if any(measured(who, m) for who in _WHO)), None)
    wanted = [Column(who, headline) for who in _WHO] if headline else []
    wanted += [Column("mean_peer", m) for m in (*_HEADLINES, *_FURTHER) if m != headline]
    return [column for column in wanted if measured(*column)]


def _rows(results: Mapping[str, Any], columns: list[Column]) -> Iterator[tuple[str, list[Cell]]]:
    entries = {
        (entry["arm"], entry["who"], entry["metric"]): entry
        for entry in results.get("differences", [])
    }
    for arm, block in results["arms"].items():
        yield (
            arm,
            [
                _cell(block.get(column.who, {}), entries.get((arm, *column)), column)
                for column in columns
            ],
        )


def _cell(metrics: Mapping[str, Any], entry: Mapping[str, Any] | None, column: Column) -> Cell:
    found = metrics.get(column.metric)
    if found is None:
        return Cell()
    scale, digits = column.scale, column.digits
    value = f"{found['mean'] * scale:.{digits}f}"
    if len(found["values"]) > 1:
        value += f" ± {found['std'] * scale:.{digits}f}"
    if entry is None:
        return Cell(value)
    difference = f"{entry['mean'] * scale:+.{digits}f}"
    interval = ""
    if entry["ci95"] is not None:
        low, high = (f"{bound * scale:+.{digits}f}" for bound in entry["ci95"])
        interval = f"[{low}, {high}]"
    return Cell(value, difference, interval, better(entry))


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


def _title(results: Mapping[str, Any]) -> Text:
    return Text(" on ".join(str(results[key]) for key in ("recipe", "data") if key in results))


def _footnote(results: Mapping[str, Any]) -> str:
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
