"""What readers of a `results.json` rely on, checked before they read; see `peerlearn.results`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerlearn.errors import InputError, unknown_name
from peerlearn.json_shapes import EACH, NUMBER, TEXT, WHOLE, check_shape
from peerlearn.metrics.confusion import COLUMNS
from peerlearn.names import check_names
from peerlearn.provenance import check_makers

MEASURED = ("mean_peer", "ensemble", "cost")
CURVES = ("flatness", "noise")
# What runs of earlier versions lack: a comparison that was begun with one can still be finished.
NEWER_OF_PEERS = (
    *("sizes", "class_weights", "validation", "epochs", "calibration", "open_edges"),
    *("posteriors", "posterior_distances"),
)
# Metrics that they lack.
NEWER_METRICS = ("aurc", "mutual_information")
# Curves that are averaged over seeds point by point.
AVERAGED = ("selective", "ood", "corruption")
OF_PEERS = ("peers", "between_peers", *NEWER_OF_PEERS)

_BINS = {name: [NUMBER] for name in ("confidence", "accuracy", "fraction")}
_SPREAD = {name: [NUMBER] for name in ("mean", "std")}
_SHARES = {"in": [NUMBER], "out": {EACH: [NUMBER]}}
_SHAPES: dict[str, Any] = {
    "reliability": {EACH: _BINS},
    **{key: {"sigma": [NUMBER], "peers": {EACH: _SPREAD}} for key in CURVES},
    "selective": {"coverage": [NUMBER], "risk": {EACH: [NUMBER]}},
    "ood": {"scores": {EACH: {"edges": [NUMBER], "of": {EACH: _SHARES}}}},
    "corruption": {"levels": [NUMBER], "kinds": {EACH: {EACH: {EACH: [NUMBER]}}}},
    "members": [TEXT],
    "confusion": {"classes": [TEXT], "of": {EACH: {key: [WHOLE] for key in COLUMNS}}},
    "edges": [{"from": TEXT, "to": TEXT}],
}
_DIFFERENCE = {"arm": TEXT, "against": TEXT, "who": TEXT, "metric": TEXT, "mean": NUMBER}
_OF_DIFFERENCES = {
    **dict.fromkeys(("n", "rows", "differing_rows"), WHOLE),
    **dict.fromkeys(("p", "half_with_twice_rows", "half_with_twice_seeds"), NUMBER),
    "covers": TEXT,
}


def checked(given: Any, path: Path) -> dict[str, Any]:
    """The content of a file, once it is seen to hold what readers need.

    Raises InputError: file and field.
    """
    results = object_in(given, path, "the file")
    arms = object_in(results.get("arms"), path, "arms")
    if not arms:
        raise InputError(f"{path}: arms is empty; expected at least one arm")
    check_names(arms, f"{path}: arms", "arm")  # folders of cells are called like them
    for name, arm in arms.items():
        _check_arm(arm, path, f"arms.{name}")
    seeds = results.get("seeds") or []
    check_shape(seeds, [WHOLE], path, "seeds")
    _check_differences(results.get("differences") or [], path, arms)
    check_makers(results.get("made_by") or [], path)
    return results


def checked_run(results: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The checked content of the file of a single run, once it is seen to hold what a run has.

    Raises InputError: file and field.
    """
    arm, block = next(iter(results["arms"].items()))
    if not isinstance(results.get("data"), str):
        raise InputError(f"{path}: data must be a text, found {results.get('data')!r}")
    for part in ("peers", "mean_peer", "ensemble"):
        if part not in block or (part == "peers" and not block["peers"]):
            raise InputError(f"{path}: arms.{arm}.{part}: missing; a finished run has it")
    selected = results.get("selected") or {}
    check_shape(selected, {EACH: {}}, path, "selected")
    for peer, known in selected.items():
        if known:  # of a peer that was chosen on validation
            check_shape(known, {"epoch": WHOLE, "value": NUMBER}, path, f"selected.{peer}")
    return results


def _check_arm(arm: Any, path: Path, name: str) -> None:
    object_in(arm, path, name)
    for part in (*MEASURED, "reliability", *CURVES, *AVERAGED, *OF_PEERS):
        field = f"{name}.{part}"
        for key, value in object_in(arm.get(part) or {}, path, field).items():
            measured = {f"{field}.{key}": value} if part in MEASURED else {}
            if part in OF_PEERS:
                object_in(value, path, f"{field}.{key}")
                measured = {f"{field}.{key}.{metric}": it for metric, it in value.items()}
            for where, summary in measured.items():
                _check_summary(summary, path, where)
    for part, shape in _SHAPES.items():
        if arm.get(part):
            check_shape(arm[part], shape, path, f"{name}.{part}")
    if arm.get("confusion"):
        _check_cells(arm["confusion"], path, f"{name}.confusion")


def _check_cells(given: Mapping[str, Any], path: Path, where: str) -> None:
    for who, cells in given["of"].items():
        true, said, count = (cells[column] for column in COLUMNS)
        most = len(given["classes"])
        if not len(true) == len(said) == len(count) or not all(
            0 <= row < most and -1 <= column < most for row, column in zip(true, said, strict=True)
        ):
            raise InputError(f"{path}: {where}.of.{who}: its cells are not those of its classes")


def _check_summary(given: Any, path: Path, where: str) -> None:
    """See that a metric is one number, or the mean and values of several."""
    found = given if isinstance(given, dict) else {"mean": given}
    numbers = [found.get("mean"), found.get("std")]
    values = found.get("values") or []
    if not isinstance(values, list):
        raise InputError(f"{path}: {where}.values must be a list, found {values!r}")
    for number in [*numbers, *values]:
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise InputError(f"{path}: {where} must hold numbers, found {number!r}")


def _check_differences(entries: Any, path: Path, arms: Mapping[str, Any]) -> None:
    check_shape(entries, [_DIFFERENCE], path, "differences")
    for index, entry in enumerate(entries):
        for key, kind in _OF_DIFFERENCES.items():
            if entry.get(key) is not None:
                check_shape(entry[key], kind, path, f"differences[{index}].{key}")
        if not 0 <= (entry.get("p") or 0) <= 1:
            raise InputError(
                f"{path}: differences[{index}].p must be from 0 to 1, found {entry['p']!r}"
            )
        if entry["arm"] not in arms:
            raise unknown_name("arm", entry["arm"], arms, f"{path}: differences[{index}].arm")


def object_in(value: Any, path: Path, name: str) -> dict[str, Any]:
    """A part of a JSON file that must be an object, else InputError: file and part."""
    if isinstance(value, dict):
        return value
    found = "nothing" if value is None else type(value).__name__
    raise InputError(f"{path}: {name} must be a JSON object, found {found}")
