"""The comparison as rows and tiles, ready for the page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from peerlearn.metrics.catalogue import base_name, is_of_class
from peerlearn.report import words
from peerlearn.report.experiment import Experiment, is_value, measured, spread
from peerlearn.report.statistics import Contrast
from peerlearn.report.words import NO_BREAK, TOGETHER, number, who_label
from peerlearn.results import Summary

MOST_COLUMNS = 6
"""Metrics beside each other on a page; the others are folded away."""


@dataclass(frozen=True)
class Cell:
    """A value with its spread, and below it the difference to the arm it is compared with."""

    value: str = "–"
    spread: str = ""
    difference: str = ""
    interval: str = ""
    side: str = ""  # "better", "worse" or nothing shown


@dataclass(frozen=True)
class Row:
    """One arm of one block; `label` is the arm's name, or the member's where there is one arm."""

    label: str
    arm: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Every arm as seen at the mean peer, the ensemble or one peer."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """Blocks of arms by metrics, or by classes."""

    columns: tuple[str, ...]  # metric titles with their unit, or classes
    blocks: tuple[Block, ...]  # shown at once: the mean peer and the ensemble
    folded: tuple[Block, ...]  # single peers


@dataclass(frozen=True)
class Tile:
    """One number worth a glance."""

    title: str
    value: str
    note: str
    side: str = ""


def comparison(experiment: Experiment) -> tuple[Table, Table | None]:
    """The experiment as a table: blocks of members, rows of arms, columns of metrics.

    Further metrics are in a second table, if any: those that tell little, and what is more than
    a page is wide.
    """
    found = [name for name in _measured(experiment) if not is_of_class(name)]
    metrics = experiment.metrics.ordered(found)
    main = [name for name in metrics if not experiment.tells_little(name)][:MOST_COLUMNS]
    main = main or metrics[:MOST_COLUMNS]
    titles = {name: experiment.metrics[name].titled for name in metrics}
    parts = [{m: titles[m] for m in metrics if (m in main) == wanted} for wanted in (True, False)]
    first, further = (_table(experiment, part) for part in parts)
    return first, further if parts[1] else None


def by_class(experiment: Experiment) -> tuple[str, Table] | None:
    """The metric that was measured of every class, titled, and a table with a column a class."""
    found = [name for name in _measured(experiment) if is_of_class(name)]
    metric = experiment.main_metric([base_name(name) for name in found])
    if metric is None:
        return None
    columns = {n: n.partition(":")[2] for n in found if base_name(n) == metric.name}
    return metric.titled, _table(experiment, columns)


def _measured(experiment: Experiment) -> list[str]:
    return [
        metric
        for who in experiment.members
        for arm in experiment.arms.values()
        for metric in measured(arm, who)
    ]


def _table(experiment: Experiment, columns: Mapping[str, str]) -> Table:
    """Blocks of members, rows of arms, and a column for each metric, with its title.

    Single peers are folded away: mean peer and ensemble answer what most readers ask.
    """
    read = reversed(experiment.differences)
    entries = {(entry.arm, entry.who, entry.metric.name): entry for entry in read}
    blocks: list[Block] = []
    folded: list[Block] = []

    def row(arm: str, who: str) -> Row:
        values = measured(experiment.arms[arm], who)
        cells = (_cell(experiment, m, values.get(m), entries.get((arm, who, m))) for m in columns)
        return Row(arm, arm, tuple(cells))

    for who in experiment.members:
        rows = tuple(row(arm, who) for arm, b in experiment.arms.items() if measured(b, who))
        if rows:
            (blocks if who in TOGETHER else folded).append(Block(who_label(who), rows))
    if len(experiment.arms) == 1:
        rows = tuple(replace(block.rows[0], label=block.title) for block in (*blocks, *folded))
        blocks, folded = [Block("", rows)] if rows else [], []
    return Table(tuple(columns.values()), tuple(blocks or folded), tuple(folded if blocks else ()))


def _cell(experiment: Experiment, name: str, value: Summary | None, entry: Contrast | None) -> Cell:
    if value is None:
        return Cell()
    metric, std = experiment.metrics[name], spread(value)
    return Cell(
        value=number(value["mean"], metric),
        spread="" if std is None else f"± {number(std, metric)}",
        difference=words.difference_number(entry) if entry else "",
        interval=words.interval_text(entry) if entry else "",
        side=entry.side if entry else "",
    )


def tiles(experiment: Experiment) -> list[Tile]:
    """At most four numbers of the main arm: mean peer, ensemble, calibration, time."""
    main, arm = experiment.main, experiment.main_arms[0]
    against = main.against if main else None
    values = {who: measured(experiment.arms[arm], who) for who in TOGETHER}
    heads = [(who, m.name) for who in TOGETHER if (m := experiment.main_metric(list(values[who])))]
    calibrations = [(who, "ece") for who in TOGETHER if "ece" in values[who]][:1]
    result = []
    for who, name in dict.fromkeys(heads + calibrations):
        what = (arm, against, who, name)
        found = (
            e for e in experiment.differences if (e.arm, e.against, e.who, e.metric.name) == what
        )
        entry, metric = next(found, None), experiment.metrics[name]
        value = words.amount(values[who][name]["mean"], metric)
        note, side = (_note(entry), entry.side) if entry else (arm, "")
        result.append(Tile(f"{who_label(who)} {metric.label}", value, note, side))
    if (seconds := _seconds(experiment, arm)) is not None:
        other = _seconds(experiment, against)
        note = f"{arm}, {seconds / other:.2f} × {against}" if other else arm
        result.append(Tile("training time", duration(seconds), note))
    return result


def _seconds(experiment: Experiment, arm: str | None) -> float | None:
    if arm not in experiment.arms:
        return None
    cost = experiment.arms[arm]["cost"].get("train_s")
    return float(cost["mean"]) if cost is not None and is_value(cost) else None


def _note(entry: Contrast) -> str:
    shown = "; not shown to differ" if entry.tested else "; not tested"
    shown = "" if entry.winner else shown
    if entry.interval is None:
        shown = "; no interval"
    return f"{words.difference_text(entry)}, {entry.arm} vs {entry.against}{shown}"


def duration(seconds: float) -> str:
    """`0.42 s`, `75 s`, `12.5 min`, `3.2 h`."""
    if seconds < 10:
        return f"{seconds:.2g}{NO_BREAK}s"
    if seconds < 120:
        return f"{seconds:.0f}{NO_BREAK}s"
    if seconds < 7200:
        return f"{seconds / 60:.1f}{NO_BREAK}min"
    return f"{seconds / 3600:.1f}{NO_BREAK}h"
