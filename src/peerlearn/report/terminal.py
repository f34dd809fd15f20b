"""Arms side by side, for the terminal and for a README.

Every cell holds a value ± its standard deviation over seeds and, below it, the difference to the
reference arm and its 95 % interval. A word says which is better only where that is shown once all
comparisons that were looked at count; see `contrasts`.
"""

from rich import box
from rich.table import Table
from rich.text import Text

from peerlearn.metrics.catalogue import Catalogue, Metric
from peerlearn.report.claims import claims
from peerlearn.report.statistics import Contrast, contrasts
from peerlearn.report.tables import Cell
from peerlearn.report.words import TOGETHER, decimals, main_difference, outcome, who_label
from peerlearn.results import Arm, Measured, Results, Summary

_STYLE = {"better": "green", "worse": "red", "": "dim"}


def comparison_table(results: Results, metrics: Catalogue) -> Table:
    """The arms of a results.json as a table for the terminal."""
    titles, rows = _cells(results, metrics)
    head = Text(f"{results['recipe']} on {results['data']}")
    note = Text(_footnote(results, metrics, planned=True))
    table = Table(title=head, caption=note, caption_justify="left", box=box.SIMPLE_HEAD)
    table.show_edge, table.pad_edge, table.collapse_padding = False, False, True
    table.add_column("arm", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right")
    for arm, cells in rows.items():
        # Text, not markup: "[+0.1, +0.9]" would be read as a style.
        table.add_row(Text(arm), *map(_as_text, cells))
    return table


def markdown_table(results: Results, metrics: Catalogue) -> str:
    """The same table as GitHub-flavoured Markdown, footnote included."""
    titles, rows = _cells(results, metrics)
    lines = [["arm", *titles], ["---", *("---:" for _ in titles)]]
    lines += [[arm, *map(_as_markdown, cells)] for arm, cells in rows.items()]
    return "\n".join([*map(_markdown_row, lines), "", _footnote(results, metrics), ""])


def _cells(results: Results, metrics: Catalogue) -> tuple[list[str], dict[str, list[Cell]]]:
    """The titles of the columns, and the cells of every arm."""
    columns = _columns(results, metrics)
    read = contrasts(results.get("differences", []), metrics)
    entries = {(entry.arm, entry.who, entry.metric.name): entry for entry in read}
    titles = [f"{who_label(who)}\n{_words(metric.label, metric.unit)}" for who, metric in columns]
    rows = {}
    for arm, block in results["arms"].items():
        seen = [(m, _measured(block, who).get(m.name), (arm, who, m.name)) for who, m in columns]
        rows[arm] = [_cell(found, entries.get(key), metric) for metric, found, key in seen]
    return titles, rows


def _columns(results: Results, metrics: Catalogue) -> list[tuple[str, Metric]]:
    """What was measured: the headline metric of mean peer and ensemble, the rest of mean peer."""
    columns: list[tuple[str, Metric]] = []
    for metric in (metrics[name] for name in metrics.brief):
        heads = metric.headline and not any(column.headline for _, column in columns)
        columns += [
            (who, metric)
            for who in (TOGETHER if heads else TOGETHER[:1])
            if any(metric.name in _measured(arm, who) for arm in results["arms"].values())
        ]
    return columns


def _measured(arm: Arm, who: str) -> Measured:
    return arm.get("mean_peer", {}) if who == "mean_peer" else arm.get("ensemble", {})


def _cell(found: Summary | None, entry: Contrast | None, metric: Metric) -> Cell:
    """Fractions in percent with two decimals, as pixels have; bare numbers with three."""

    usual = 2 if metric.unit else 3

    def text(value: float, sign: str = "", places: int = usual) -> str:
        value *= 100.0 if metric.is_fraction else 1.0
        return f"{value:{sign}.{places}f}"

    if found is None:
        return Cell("")
    many = len(found["values"]) > 1
    value = text(found["mean"]) + (f" ± {text(found['std'])}" if many else "")
    if entry is None:
        return Cell(value)
    places = decimals(entry, usual)
    ends = ", ".join(text(end, "+", places) for end in entry.interval or ())
    interval = f"[{ends}]" if ends else ""
    return Cell(value, "", text(entry.mean, "+", places), interval, entry.side)


def _as_text(cell: Cell) -> Text:
    text = Text(cell.value)
    # One below the other: four metrics with intervals then fit into 80 columns.
    for line in (_words(cell.difference, cell.side), cell.interval):
        if line:
            text.append("\n" + line, style=_STYLE[cell.side])
    return text


def _as_markdown(cell: Cell) -> str:
    if not cell.difference:
        return cell.value
    difference = _words(cell.difference, cell.interval, cell.side)
    return f"{cell.value}<br>" + (f"**{difference}**" if cell.side == "better" else difference)


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _footnote(results: Results, metrics: Catalogue, planned: bool = False) -> str:
    """What numbers are, what may be said of them and, if `planned`, what is shown and what next."""
    seeds, entries = results["seeds"], contrasts(results.get("differences", []), metrics)
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        note = f"One seed ({listed}): no spread over seeds can be given."
    else:
        note = f"n = {len(seeds)} seeds ({listed}); ± is the standard deviation over seeds."
    if not entries:
        return note
    note += f" Below each value: difference to {entries[0].against}, paired by seed"
    note += ", with its 95 % interval." if len(seeds) > 1 else "; with one pair it has no interval."
    said = claims(entries, results["arms"], metrics, planned)
    main = main_difference(entries, metrics) if planned else None
    return "\n".join([outcome(main), note, *said]) if main else " ".join([note, *said])
