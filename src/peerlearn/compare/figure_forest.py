"""Differences between arms with their 95 % intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import (
    INK,
    MUTED,
    PAPER,
    new_figure,
    percent_axis,
    shorten,
    tick_text,
)
from peerlearn.compare.report_words import interval, is_fraction, unit, verdict, who_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]
Look = tuple[str, str, Any]  # colour, marker, line style of an arm


def draw_forest(entries: Sequence[Json], looks: Mapping[str, Look]) -> "Figure":
    """One row a difference, all of one metric: the mark is the mean, the bar its interval.

    A filled mark is a difference whose interval excludes zero; a hollow one is not shown to differ.
    Rows are headed by the pair of arms where there is more than one pair.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    pairs: dict[tuple[str, str], list[Json]] = {}
    for entry in entries:
        pairs.setdefault((entry["arm"], entry["against"]), []).append(entry)
    rows: list[tuple[str, Json | None, str]] = []
    for (arm, against), group in pairs.items():
        if len(pairs) > 1:
            rows.append((shorten(f"{arm} − {against}", 30), None, looks[arm][0]))
        rows += [(shorten(who_label(e["who"]), 14), e, looks[arm][0]) for e in group]

    figure = new_figure(0.62 + 0.235 * len(rows))
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
    labels: list[tuple[float, str]] = []
    for index, (label, row, colour) in enumerate(rows):
        if row is None:
            axes.text(
                0.0,
                index,
                label,
                transform=axes.get_yaxis_transform(),
                va="center",
                fontweight="bold",
                color=INK,
                zorder=6,
                bbox={"boxstyle": "square,pad=0.15", "facecolor": PAPER, "edgecolor": "none"},
            )
            continue
        labels.append((index, label))
        if ends := interval(row):
            axes.plot(ends, [index, index], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot(
            [row["mean"]],
            [index],
            color=colour,
            linestyle="none",
            marker=looks[row["arm"]][1],
            markersize=6.5,
            markerfacecolor=colour if verdict(row) else PAPER,
            markeredgecolor=colour,
            markeredgewidth=1.5,
            zorder=4,
        )
    axes.set_yticks([place for place, _ in labels], [label for _, label in labels])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.12)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.08 * (high - low)), max(high, 0.08 * (high - low)))
    if is_fraction(entries[0]["metric"]):
        percent_axis(axes, "x", signed=True)
        axes.set_xlabel("difference in points")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value, True)))
        of = unit(entries[0]["metric"])
        axes.set_xlabel(f"difference in {of}" if of else "difference")
    return figure
