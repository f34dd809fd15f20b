"""The comparison as rows and tiles, ready for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peerlearn.compare.report_folders import Study, is_value
from peerlearn.compare.report_words import (
    NO_BREAK,
    PRIMARY,
    amount,
    choose_metric,
    difference_number,
    difference_text,
    interval,
    interval_text,
    main_entry,
    metric_label,
    number,
    titled,
    verdict,
    who_label,
)
from peerlearn.compare.statistics import base_metric, is_of_class

Json = dict[str, Any]

_DISCOVERY = (
    *("all_accuracy", "old_accuracy", "new_accuracy", "oracle_cluster_accuracy"),
    *("known_accuracy", "test_cluster_accuracy", "pair_precision", "pair_recall"),
    *("clusters", "largest_cluster"),
)
_ORDER = (
    *PRIMARY,
    *_DISCOVERY,
    *("top5", "exact_match", "ra", "der", "asr", "hd95", "ece", "nll", "brier"),
)


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
    """Blocks of arms by metrics, or by classes.

    Attributes:
        columns: metric titles with their unit, or classes.
        blocks: to be shown at once: the mean peer, the ensemble, and peers where they are few.
        folded: the peers, where they are many.
    """

    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    folded: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """One number worth a glance."""

    title: str
    value: str
    note: str
    side: str = ""


def sorted_metrics(metrics: Sequence[str]) -> list[str]:
    """The metrics without repetition, those that tell most first."""
    unique = list(dict.fromkeys(metrics))
    return sorted(unique, key=lambda m: _ORDER.index(m) if m in _ORDER else len(_ORDER))


def members(study: Study) -> list[str]:
    """Who was measured: mean_peer, ensemble, and every peer."""
    together = [
        who for who in ("mean_peer", "ensemble") if any(arm[who] for arm in study.arms.values())
    ]
    return [*together, *study.peers]


def metrics_of(arm: Json, who: str) -> Json:
    """The metric values of one member in one arm."""
    block = arm[who] if who in ("mean_peer", "ensemble") else arm["peers"].get(who, {})
    return {metric: value for metric, value in block.items() if is_value(value)}


def comparison(study: Study) -> Table:
    """The whole study as a table: blocks of members, rows of arms, columns of metrics."""
    metrics = sorted_metrics([m for m in _measured(study) if not is_of_class(m)])
    few = len(study.peers) <= 3
    return _table(study, {metric: titled(metric) for metric in metrics}, few)


def by_class(study: Study) -> tuple[str, Table] | None:
    """The metric that was measured of every class, and a table with the classes as columns.

    None where nothing was measured by class.
    """
    found = [metric for metric in _measured(study) if is_of_class(metric)]
    metric = choose_metric(dict.fromkeys(base_metric(name) for name in found))
    if metric is None:
        return None
    columns = {
        name: name.partition(":")[2] for name in dict.fromkeys(found) if base_metric(name) == metric
    }
    return metric, _table(study, columns, show_peers=False)


def _measured(study: Study) -> list[str]:
    return [
        metric
        for who in members(study)
        for arm in study.arms.values()
        for metric in metrics_of(arm, who)
    ]


def _table(study: Study, columns: Mapping[str, str], show_peers: bool) -> Table:
    """Blocks of members, rows of arms, and a column for each metric, with its title."""
    entries = {(e["arm"], e["who"], e["metric"]): e for e in reversed(study.differences)}
    blocks: list[Block] = []
    folded: list[Block] = []
    for who in members(study):
        rows = tuple(
            Row(
                name,
                name,
                tuple(
                    _cell(
                        metrics_of(arm, who).get(metric), metric, entries.get((name, who, metric))
                    )
                    for metric in columns
                ),
            )
            for name, arm in study.arms.items()
            if metrics_of(arm, who)
        )
        if rows:
            shown = show_peers or who not in study.peers
            (blocks if shown else folded).append(Block(who_label(who), rows))
    if len(study.arms) == 1:
        rows = tuple(replace(block.rows[0], label=block.title) for block in (*blocks, *folded))
        blocks, folded = [Block("", rows)] if rows else [], []
    return Table(tuple(columns.values()), tuple(blocks or folded), tuple(folded if blocks else ()))


def _cell(value: Json | None, metric: str, entry: Json | None) -> Cell:
    if value is None:
        return Cell()
    many = len(value.get("values") or ()) > 1 and value.get("std") is not None
    return Cell(
        value=number(value["mean"], metric),
        spread=f"± {number(value['std'], metric)}" if many else "",
        difference=difference_number(entry) if entry else "",
        interval=interval_text(entry) if entry else "",
        side=side(entry),
    )


def side(entry: Json | None) -> str:
    """ "better" or "worse" where the interval shows it, seen from the arm; else empty."""
    return {"arm": "better", "against": "worse"}.get(verdict(entry) or "", "") if entry else ""


def tiles(study: Study) -> list[Tile]:
    """At most four numbers of the main arm: mean peer, ensemble, calibration, time."""
    main = main_entry(study.differences)
    name = main["arm"] if main else next(iter(study.arms))
    arm = study.arms[name]
    against = main["against"] if main else None
    found = []
    for who in ("mean_peer", "ensemble"):
        available = metrics_of(arm, who)
        if metric := choose_metric(available):
            found.append((who, metric))
    for who in ("mean_peer", "ensemble"):
        if "ece" in metrics_of(arm, who):
            found.append((who, "ece"))
            break
    result = []
    for who, metric in dict.fromkeys(found):
        entry = next(
            (
                e
                for e in study.differences
                if (e["arm"], e["against"], e["who"], e["metric"]) == (name, against, who, metric)
            ),
            None,
        )
        value = metrics_of(arm, who)[metric]["mean"]
        result.append(
            Tile(
                f"{who_label(who)} {metric_label(metric)}",
                amount(value, metric),
                _tile_note(entry, name),
                side(entry),
            )
        )
    if (seconds := _seconds(study, name)) is not None:
        other = _seconds(study, against)
        note = f"{name}, {seconds / other:.2f} × {against}" if other else name
        result.append(Tile("training time", duration(seconds), note))
    return result


def _seconds(study: Study, arm: str | None) -> float | None:
    cost = study.arms[arm]["cost"].get("train_s") if arm in study.arms else None
    return float(cost["mean"]) if cost is not None and is_value(cost) else None


def _tile_note(entry: Json | None, arm: str) -> str:
    if entry is None:
        return arm
    shown = "" if verdict(entry) else "; not shown to differ"
    if interval(entry) is None:
        shown = "; no interval"
    return f"{difference_text(entry)}, {arm} vs {entry['against']}{shown}"


def duration(seconds: float) -> str:
    """`0.42 s`, `75 s`, `12.5 min`, `3.2 h`."""
    if seconds < 10:
        return f"{seconds:.2g}{NO_BREAK}s"
    if seconds < 120:
        return f"{seconds:.0f}{NO_BREAK}s"
    if seconds < 7200:
        return f"{seconds / 60:.1f}{NO_BREAK}min"
    return f"{seconds / 3600:.1f}{NO_BREAK}h"
