"""What an arm costs to train, one bar an arm, and what its peers cost to use."""

from collections.abc import Mapping
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from peerlearn.metrics.catalogue import COSTS, Metric
from peerlearn.report.experiment import Experiment, is_value, mean_and_std
from peerlearn.report.figures import INK, Style, new_figure, number_axis, shorten
from peerlearn.report.section import Drawer, Section
from peerlearn.report.tables import Block, Cell, Row, Table, duration
from peerlearn.report.words import NO_BREAK, joined, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTIONS = {
    "train_s": "Wall-clock time of training one seed",
    "forwards_per_step": "Training forwards in one step, all peers together",
    "peak_rss_mb": "Largest resident memory of the process",
}
_COUNTED = ("parameters", "multiply_adds")  # the same for every seed and machine
_MEASURED = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds of one row",
    "latency_ms": "time of one row",
}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def cost(draw: Drawer) -> Section:
    """Training time, forwards per step and memory, and the sizes of single peers."""
    arms = draw.experiment.arms
    charts = []
    for name in dict.fromkeys(name for arm in arms.values() for name in arm["cost"]):
        found = {arm: block["cost"].get(name) for arm, block in arms.items()}
        values = {arm: mean_and_std(value) for arm, value in found.items() if is_value(value)}
        if not values:
            continue
        what = COSTS[name]
        labels = {arm: _label(what, mean) for arm, (mean, _) in values.items()}
        title = sentence(what.label)
        values_text = ", ".join(f"{arm} {label}" for arm, label in labels.items())
        caption = f"{_CAPTIONS.get(name, title)}: {values_text}."
        figure = partial(_draw, values, labels, what.unit or what.label, draw.styles)
        charts.append(draw.detail("", title, caption, figure))
    sizes = _size_table(draw.experiment)
    lead = "Using one peer; in percent of the largest." if sizes else ""
    return Section("cost", "Cost", charts=tuple(charts), legend=False, table=sizes, table_lead=lead)


def _label(what: Metric, mean: float) -> str:
    if what.unit == "seconds":
        return duration(mean)
    return f"{mean:.0f}{NO_BREAK}MB" if what.unit == "MB" else f"{mean:.3g}"


def _draw(
    values: Mapping[str, tuple[float, float]],  # mean and std
    labels: Mapping[str, str],  # at the end of each bar
    unit: str,
    styles: Mapping[str, Style],
) -> "Figure":
    """Bars from zero with their value at the end and the standard deviation over seeds."""
    figure = new_figure(0.55 + 0.3 * len(values))
    axes = figure.add_subplot()
    top = max(mean + std for mean, std in values.values()) or 1.0
    for index, (arm, (mean, std)) in enumerate(values.items()):
        axes.barh(index, mean, height=0.58, color=styles[arm].colour, linewidth=0)
        if std:
            axes.plot([mean - std, mean + std], [index, index], color=INK, linewidth=1.0)
        axes.text(mean + std + 0.02 * top, index, labels[arm], va="center", color=INK)
    axes.set_yticks(range(len(values)), [shorten(arm, 14) for arm in values])
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.set_xlim(0, 1.28 * top)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit)
    number_axis(axes, "x", ticks=4)
    return figure


def _size_table(experiment: Experiment) -> Table | None:
    """A row for every peer with its sizes; arms in which a peer is equally large share one."""
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
        # Each size over the arms that share it; of the time, the mean.
        several = {name: [own[name] for _, own in found if name in own] for name in _MEASURED}
        means = {name: fmean(values) for name, values in several.items() if values}
        sizes_of[peer if peers.count(peer) == 1 else f"{peer} ({arms})"] = means
    columns = [name for name in _MEASURED if any(name in sizes for sizes in sizes_of.values())]
    most = {n: max(sizes[n] for sizes in sizes_of.values() if n in sizes) for n in columns}
    rows = tuple(
        Row(label, "", tuple(_cell(name, sizes.get(name), most[name]) for name in columns))
        for label, sizes in sizes_of.items()
    )
    return Table(tuple(_MEASURED[name] for name in columns), (Block("", rows),), ())


def _cell(name: str, value: float | None, most: float) -> Cell:
    if value is None:
        return Cell()
    text = f"{_three_digits(value)}{NO_BREAK}ms" if name == "latency_ms" else short_count(value)
    share = f"{100 * value / most:.3g}{NO_BREAK}%" if most > 0 else ""
    return Cell(text, share if value < most else "")


def short_count(count: float) -> str:
    """A count with three digits: `512`, `7.85 k`, `1.23 M`, `45.6 G`."""
    for size, prefix in _PREFIXES:
        if count >= 0.9995 * size:
            return f"{_three_digits(count / size)}{NO_BREAK}{prefix}"
    return f"{count:.0f}"


def _three_digits(value: float) -> str:
    """`0.79`, `7.85`, `78.5`, `785`, `7850`."""
    whole = len(str(int(float(f"{value:.3g}"))))
    return f"{value:.{max(0, 3 - whole)}f}"
