"""Learning curves of one peer: validation metric, objective and transfer loss by epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from peerlearn.metrics.catalogue import Metric
from peerlearn.report.experiment import Epochs, Experiment, measured
from peerlearn.report.figures import (
    INK,
    MUTED,
    Style,
    draw_band,
    new_figure,
    number_axis,
    over_seeds,
    shorten,
)
from peerlearn.report.section import Chart, Drawer, Section
from peerlearn.report.words import amount, sentence, who_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTS: dict[str, Any] = {"objective": "solid", "transfer": "dotted"}
_CHARACTERS = 42  # of a stage's name, if it had the whole width
Runs = Mapping[str, Mapping[int, Epochs]]
"""By arm and seed."""


def curves(draw: Drawer) -> Section:
    """Learning curves of every peer and of the ensemble."""
    experiment = draw.experiment
    runs = experiment.epochs
    events = [event for seeds in runs.values() for found in seeds.values() for event in found]
    metric = experiment.main_metric([name for event in events for name in _validated(event)])
    names = [*experiment.peers, "ensemble"]
    floor = _common_floor(runs, names, metric.name) if metric else None
    longest = max((len(found) for seeds in runs.values() for found in seeds.values()), default=0)
    charts = []
    for name in names:
        val, train = lines = lines_of(runs, name, metric)
        who, caption = who_label(name), _last_values(experiment, name, metric)
        if longest > 1 and (val or train):
            figure = partial(draw_curves, runs, lines, metric, draw.styles, floor)
            charts.append(draw.chart("Learning curves of", who, caption, figure))
        elif val:
            charts.append(Chart(sentence(who), "", caption))
    if longest == 1:
        return Section("curves", "Learning curves", "One epoch is no curve yet.", tuple(charts))
    lead = f"Above, {experiment.pages.validated}; below, the training loss: what the data asks "
    lead += "(solid) and what the other peers ask (dotted)."
    if any(len(seeds) > 1 for seeds in runs.values()):
        lead += " Lines are means over seeds, bands one standard deviation."
    return Section("curves", "Learning curves", lead, tuple(charts))


def _validated(event: Mapping[str, Any]) -> list[str]:
    """Names of the metrics of all members in an epoch."""
    val = event.get("val")
    members = val.values() if isinstance(val, dict) else ()
    return [name for metrics in members if isinstance(metrics, dict) for name in metrics]


def _last_values(experiment: Experiment, member: str, metric: Metric | None) -> str:
    if metric is None:
        return "Training loss by epoch."
    lines = curves_of(experiment.epochs, "val", member, metric.name)
    ends = [f"{arm} {amount(line.last, metric)}" for arm, line in lines.items()]
    if not ends:
        return "Training loss by epoch."
    caption = f"Last epoch: {', '.join(ends)}."
    for name in experiment.pages.beside:
        beside = experiment.metrics[name]
        values = [
            f"{arm} {amount(found[name]['mean'], beside)}"
            for arm, block in experiment.arms.items()
            if name in (found := measured(block, member))
        ]
        caption += f" {sentence(beside.label)}: {', '.join(values)}." if values else ""
    return caption


@dataclass(frozen=True)
class Curve:
    """Mean and standard deviation over seeds, one number an epoch."""

    mean: list[float]
    std: list[float]
    seeds: int

    @property
    def last(self) -> float:
        """The last number that is there; NaN where there is none."""
        return next((v for v in reversed(self.mean) if v == v), float("nan"))


def curves_of(runs: Runs, *path: str) -> dict[str, Curve]:
    """By arm, the curve of `event[path[0]][path[1]]…`, of all arms that have it."""
    found = {}
    for arm, seeds in runs.items():
        series = [[_number(event, *path) for event in s] for s in seeds.values()]
        if any(value == value for values in series for value in values):
            found[arm] = Curve(*over_seeds(series), len(series))
    return found


Lines = tuple[dict[str, Curve], dict[tuple[str, str], Curve]]
"""Of the validation metric by arm, and of the training loss by arm and part."""


def lines_of(runs: Runs, member: str, metric: Metric | None) -> Lines:
    """What is known of a member.

    The ensemble has no training loss.
    """
    val = curves_of(runs, "val", member, metric.name) if metric else {}
    parts = {part: curves_of(runs, "train", member, part) for part in _PARTS}
    train = {
        (arm, part): parts[part][arm]
        for arm in runs
        for part in _PARTS
        if arm in parts[part]
        and (part == "objective" or any(value for value in parts[part][arm].mean))
    }
    return val, train


def draw_curves(
    runs: Runs,
    lines: Lines,
    metric: Metric | None,
    styles: Mapping[str, Style],
    floor: float | None = None,
) -> "Figure":
    """Two panels over the epochs: above the validation metric, below the training loss in parts.

    One panel where only one of them is known. The first epochs may leave the upper panel at the
    `floor`.
    """
    from matplotlib.ticker import MaxNLocator

    val, train = lines
    both = bool(val and train)
    figure = new_figure(3.35 if both else 1.95)
    grid = figure.subplots(1 + both, 1, sharex=True, squeeze=False)[:, 0]
    if val and metric:
        for arm, line in val.items():
            draw_curve(grid[0], line, styles[arm].colour, styles[arm].line)
        _metric_axis(grid[0], metric, floor)
    if train:
        for (arm, part), line in train.items():
            draw_curve(grid[-1], line, styles[arm].colour, _PARTS[part])
        if all(value >= 0 for line in train.values() for value in line.mean):
            grid[-1].set_ylim(bottom=0)  # else something repels
        grid[-1].set_ylabel("training loss")
        _part_key(grid[-1], {part for _, part in train})
    marks = _stage_starts(runs)
    for axes in grid:
        for place, _ in marks[1:]:
            axes.axvline(place - 0.5, color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
    epochs = max(len(events) for seeds in runs.values() for events in seeds.values())
    ends = [place for place, _ in marks[1:]] + [epochs + 1]
    for (place, name), end in zip(marks, ends, strict=False):
        text = shorten(name, max(2, min(14, _CHARACTERS * (end - place) // epochs)))
        above = grid[0].get_xaxis_transform()
        grid[0].text(place, 1.0, text, transform=above, va="bottom", fontsize=8.5, color=MUTED)
    grid[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    grid[-1].set_xlim(0.5, epochs + 0.5)
    grid[-1].set_xlabel("epoch")
    figure.align_ylabels()
    return figure


def _common_floor(runs: Runs, members: Sequence[str], metric: str) -> float | None:
    """A lower end for the metric that fits every member: its worst after a fifth of the epochs."""
    worst = [
        mean - std
        for member in members
        for line in curves_of(runs, "val", member, metric).values()
        for mean, std in list(zip(line.mean, line.std, strict=True))[len(line.mean) // 5 :]
        if mean == mean
    ]
    return min(worst, default=None)


def draw_curve(axes: "Axes", line: Curve, colour: str, style: Any) -> None:
    """The line through all numbers that are there: not every epoch may have been measured."""
    there = [n for n, mean in enumerate(line.mean) if mean == mean]
    means, stds = ([values[n] for n in there] for values in (line.mean, line.std))
    spread = stds if line.seeds > 1 else None
    look = {"linestyle": style, "marker": "o" if len(there) == 1 else None}
    draw_band(axes, [n + 1 for n in there], means, spread, colour, **look)


def _metric_axis(axes: "Axes", metric: Metric, floor: float | None) -> None:
    number_axis(axes, "y", metric)
    axes.set_ylabel(f"val. {metric.titled}")
    if floor is not None:
        top = axes.get_ylim()[1]
        if top > floor:
            axes.set_ylim(floor - 0.08 * (top - floor), top)


def _part_key(axes: "Axes", parts: set[str]) -> None:
    from matplotlib.lines import Line2D

    names = [part for part in _PARTS if part in parts]
    if len(names) < 2:
        axes.set_ylabel(f"{names[0]} loss")
        return
    lines = [Line2D([], [], color=INK, linestyle=_PARTS[name], label=name) for name in names]
    axes.legend(handles=lines, loc="upper right", ncols=2, borderaxespad=0.0, columnspacing=1.2)


def _stage_starts(runs: Runs) -> list[tuple[int, str]]:
    """(epoch, name) of every stage of the longest run; none where there is one stage only."""
    events = max(
        (events for seeds in runs.values() for events in seeds.values()), key=len, default=()
    )
    names = [str(event.get("stage", "")) for event in events]
    starts = [(n, name) for n, name in enumerate(names, 1) if n == 1 or names[n - 2] != name]
    return starts if len(starts) > 1 else []


def _number(event: Mapping[str, Any], *path: str) -> float:
    value: Any = event
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return float(value) if isinstance(value, (int, float)) else float("nan")
