"""How large every peer is, and how that compares with the largest one."""

from statistics import fmean
from typing import Any

from peerlearn.report.experiment import Experiment, is_value
from peerlearn.report.tables import Block, Cell, Row, Table
from peerlearn.report.words import NO_BREAK, joined

_COUNTED = ("parameters", "multiply_adds")  # the same for every seed and machine
_MEASURED = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds of one row",
    "latency_ms": "time of one row",
}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def size_table(experiment: Experiment) -> Table | None:
    """A row for every peer with its sizes; arms in which a peer is equally large share one.

    None where nothing was measured.
    """
    alike: dict[tuple[Any, ...], list[tuple[str, dict[str, float]]]] = {}
    for arm, block in experiment.arms.items():
        for peer, sizes in (block.get("sizes") or {}).items():
            means = {name: sizes[name]["mean"] for name in _MEASURED if is_value(sizes.get(name))}
            key = (peer, *(means.get(name) for name in _COUNTED))
            alike.setdefault(key, []).append((arm, means))
    if not alike:
        return None
    peers = [key[0] for key in alike]
    sizes_of = {}
    for (peer, *_), found in alike.items():
        arms = joined(arm for arm, _ in found)
        sizes_of[peer if peers.count(peer) == 1 else f"{peer} ({arms})"] = _means(found)
    columns = [name for name in _MEASURED if any(name in sizes for sizes in sizes_of.values())]
    most = {n: max(sizes[n] for sizes in sizes_of.values() if n in sizes) for n in columns}
    rows = tuple(
        Row(label, "", tuple(_cell(name, sizes.get(name), most[name]) for name in columns))
        for label, sizes in sizes_of.items()
    )
    return Table(tuple(_MEASURED[name] for name in columns), (Block("", rows),), ())


def _means(found: list[tuple[str, dict[str, float]]]) -> dict[str, float]:
    """Each size over the arms that share it; of the time, the mean."""
    several = {name: [means[name] for _, means in found if name in means] for name in _MEASURED}
    return {name: fmean(values) for name, values in several.items() if values}


def _cell(name: str, value: float | None, most: float) -> Cell:
    if value is None:
        return Cell()
    text = f"{three_digits(value)}{NO_BREAK}ms" if name == "latency_ms" else short_count(value)
    share = f"{100 * value / most:.3g}{NO_BREAK}%" if most > 0 else ""
    return Cell(text, share if value < most else "")


def short_count(count: float) -> str:
    """A count with three digits: `512`, `7.85 k`, `1.23 M`, `45.6 G`."""
    for size, prefix in _PREFIXES:
        if count >= 0.9995 * size:
            return f"{three_digits(count / size)}{NO_BREAK}{prefix}"
    return f"{count:.0f}"


def three_digits(value: float) -> str:
    """`0.79`, `7.85`, `78.5`, `785`, `7850`."""
    whole = len(str(int(float(f"{value:.3g}"))))
    return f"{value:.{max(0, 3 - whole)}f}"
