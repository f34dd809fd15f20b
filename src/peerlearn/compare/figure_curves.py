"""Learning curves of one peer: validation metric, objective and transfer loss by epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import (
    INK,
    MUTED,
    mean_and_std,
    new_figure,
    percent_axis,
    shorten,
    tick_text,
)
from peerlearn.compare.report_words import is_fraction, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Json = dict[str, Any]
_CHARACTERS = 42  # of a stage's name, if it had the whole width
Look = tuple[str, str, Any]
Runs = Mapping[str, Mapping[int, Sequence[Json]]]  # arm → seed → epoch events


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


def curve(runs: Mapping[int, Sequence[Json]], part: str, peer: str, name: str) -> Curve | None:
    """The curve of `event[part][peer][name]`; None where no event has it."""
    series = [[_number(event, part, peer, name) for event in events] for events in runs.values()]
    if not any(value == value for values in series for value in values):
        return None
    mean, std = mean_and_std(series)
    return Curve(mean, std, len(series))


def draw_curves(
    runs: Runs,
    member: str,
    metric: str | None,
    looks: Mapping[str, Look],
    floor: float | None = None,
) -> "Figure | None":
    """Two panels over the epochs: above the validation metric, below the training loss in parts.

    Args:
        runs: the epoch events.
        member: a peer, or "ensemble" (which has no training loss).
        metric: of the upper panel; None leaves the panel out.
        looks: of the arms.
        floor: where the upper panel starts; the first epochs may leave it at the bottom.

    Returns:
        The figure, or None where the events tell nothing about this member.
    """
    val = {arm: curve(seeds, "val", member, metric) for arm, seeds in runs.items() if metric}
    parts = {
        (arm, part): curve(seeds, "train", member, part)
        for arm, seeds in runs.items()
        for part in ("objective", "transfer")
    }
    parts = {
        key: line
        for key, line in parts.items()
        if line is not None and not (key[1] == "transfer" and not any(v > 0 for v in line.mean))
    }
    panels = [
        name for name, lines in (("val", val.values()), ("train", parts.values())) if any(lines)
    ]
    if not panels:
        return None

    figure = new_figure(3.35 if len(panels) == 2 else 1.95)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    marks = _stage_starts(runs)
    for axes, panel in zip(grid, panels, strict=True):
        if panel == "val":
            for arm, line in val.items():
                if line:
                    _line(axes, line, looks[arm][0], looks[arm][2])
            _metric_axis(axes, str(metric), floor)
        else:
            for (arm, part), line in parts.items():
                if line:
                    _line(axes, line, looks[arm][0], "solid" if part == "objective" else "dotted")
            axes.set_ylim(bottom=0)
            axes.set_ylabel("training loss")
            _part_key(axes, {part for _, part in parts})
        for place, _ in marks[1:]:
            axes.axvline(place - 0.5, color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
    epochs = max(len(events) for seeds in runs.values() for events in seeds.values())
    ends = [place for place, _ in marks[1:]] + [epochs + 1]
    for (place, name), end in zip(marks, ends, strict=False):
        grid[0].text(
            place,
            1.0,
            shorten(name, max(2, min(14, _CHARACTERS * (end - place) // epochs))),
            transform=grid[0].get_xaxis_transform(),
            va="bottom",
            fontsize=8.5,
            color=MUTED,
        )
    _epoch_axis(grid[-1], epochs)
    figure.align_ylabels()
    return figure


def common_floor(runs: Runs, members: Sequence[str], metric: str) -> float | None:
    """A lower end for the metric that fits every member: its worst after a fifth of the epochs."""
    worst = []
    for member in members:
        for seeds in runs.values():
            if line := curve(seeds, "val", member, metric):
                start = len(line.mean) // 5
                worst += [
                    mean - std
                    for mean, std in list(zip(line.mean, line.std, strict=True))[start:]
                    if mean == mean
                ]
    return min(worst) if worst else None


def _line(axes: "Axes", line: Curve, colour: str, style: Any) -> None:
    """The line through all numbers that are there: not every epoch may have been measured."""
    points = [
        (epoch, mean, std)
        for epoch, (mean, std) in enumerate(zip(line.mean, line.std, strict=True), 1)
        if mean == mean
    ]
    epochs, means, stds = zip(*points, strict=True)
    if line.seeds > 1:
        low = [mean - std for mean, std in zip(means, stds, strict=True)]
        high = [mean + std for mean, std in zip(means, stds, strict=True)]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    marker = "o" if len(points) == 1 else None
    axes.plot(epochs, means, color=colour, linestyle=style, marker=marker)


def _metric_axis(axes: "Axes", metric: str, floor: float | None) -> None:
    from matplotlib.ticker import FuncFormatter

    if is_fraction(metric):
        percent_axis(axes, "y")
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axes.set_ylabel(f"val. {titled(metric)}")
    if floor is not None:
        top = axes.get_ylim()[1]
        if top > floor:
            axes.set_ylim(floor - 0.08 * (top - floor), top)


def _part_key(axes: "Axes", parts: set[str]) -> None:
    from matplotlib.lines import Line2D

    names = [part for part in ("objective", "transfer") if part in parts]
    if len(names) < 2:
        axes.set_ylabel(f"{names[0]} loss")
        return
    styles: dict[str, Any] = {"objective": "solid", "transfer": "dotted"}
    axes.legend(
        handles=[Line2D([], [], color=INK, linestyle=styles[name], label=name) for name in names],
        loc="upper right",
        ncols=2,
        borderaxespad=0.0,
        columnspacing=1.2,
    )


def _epoch_axis(axes: "Axes", epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(0.5, epochs + 0.5)
    axes.set_xlabel("epoch")


def _stage_starts(runs: Runs) -> list[tuple[int, str]]:
    """(epoch, name) of every stage of the longest run; none where there is one stage only."""
    events = max(
        (events for seeds in runs.values() for events in seeds.values()), key=len, default=()
    )
    starts: list[tuple[int, str]] = []
    for index, event in enumerate(events, start=1):
        name = str(event.get("stage", ""))
        if not starts or starts[-1][1] != name:
            starts.append((index, name))
    return starts if len(starts) > 1 else []


def _number(event: Json, *path: str) -> float:
    value: Any = event
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return float(value) if isinstance(value, (int, float)) else float("nan")
