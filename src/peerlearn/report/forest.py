"""Differences between arms with their 95 % intervals."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from peerlearn.metrics.catalogue import is_of_class
from peerlearn.report import figures
from peerlearn.report.figures import INK, MUTED, PAPER, Style
from peerlearn.report.section import Chart, Drawer, Section
from peerlearn.report.statistics import Contrast
from peerlearn.report.words import TOGETHER, sentence, who_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 14  # of one plot; more, and single peers stay in the table
_SIDES = {"higher": "right of zero is better", "lower": "left of zero is better", None: ""}


def forest(draw: Drawer) -> Section:
    """A forest plot for every metric that was compared.

    Those of single classes, and what only describes, stay in the tables.
    """
    experiment = draw.experiment
    order = {who: place for place, who in enumerate(experiment.members)}
    by_metric: dict[str, list[Contrast]] = {}
    for entry in sorted(experiment.differences, key=lambda e: order.get(e.who, len(order))):
        if not is_of_class(entry.metric.name) and entry.metric.compared:
            by_metric.setdefault(entry.metric.name, []).append(entry)
    crowded = any(len(entries) > _MOST_ROWS for entries in by_metric.values())
    charts: dict[bool, list[Chart]] = {True: [], False: []}
    for name in experiment.metrics.ordered(by_metric):
        entries, metric = by_metric[name], experiment.metrics[name]
        if crowded:
            entries = [entry for entry in entries if entry.who in TOGETHER] or entries
        seen = "one seed, so no interval"
        if any(entry.interval for entry in entries):
            tested = [entry for entry in entries if entry.tested]
            shown = sum(entry.winner is not None for entry in tested)
            seen = (
                f"{shown} of {len(tested)} tested are shown to differ" if tested else "not tested"
            )
        remarks = "; ".join(part for part in (_SIDES[metric.better], seen) if part)
        caption, title = sentence(remarks, "."), sentence(metric.label)
        figure = partial(_draw, entries, draw.styles)
        chart = draw.chart("Forest plot of differences in", title, caption, figure)
        charts[metric.headline].append(chart)
    heads, more = charts[True] or charts[False], charts[False] if charts[True] else []
    return Section(
        "forest",
        "Differences",
        _lead(draw, crowded),
        tuple(heads),
        legend=False,
        more=tuple(more),
        more_title="Differences in further metrics",
    )


def _lead(draw: Drawer, crowded: bool) -> str:
    differences = draw.experiment.differences
    pairs = dict.fromkeys((entry.arm, entry.against) for entry in differences)
    if any(entry.interval for entry in differences):
        lead = "each mark is the mean difference over seeds, each bar its 95 % interval. "
        lead += "Filled: shown to differ once all that was looked at counts. Hollow: not shown."
    else:
        lead = "each mark is a difference without an interval, so it may be chance."
    if crowded:
        lead += " Single peers are in the table."
    of = "".join(f"{arm} minus {against}: " for arm, against in pairs if len(pairs) == 1)
    return of + lead if of else sentence(lead)


def _draw(entries: Sequence[Contrast], styles: Mapping[str, Style]) -> "Figure":
    """One row a difference; rows are headed by the pair of arms where there are several."""
    pairs: dict[tuple[str, str], list[Contrast]] = {}
    for entry in entries:
        pairs.setdefault((entry.arm, entry.against), []).append(entry)
    rows: list[tuple[str, Contrast | None]] = []
    for (arm, against), group in pairs.items():
        if len(pairs) > 1:
            rows.append((figures.shorten(f"{arm} − {against}", 30), None))
        rows += [(figures.shorten(who_label(entry.who), 14), entry) for entry in group]

    figure = figures.new_figure(0.62 + 0.235 * len(rows))
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
    labels: list[tuple[float, str]] = []
    for index, (label, row) in enumerate(rows):
        if row is None:
            look = {"fontweight": "bold", "color": INK, "zorder": 6}
            across = axes.get_yaxis_transform()
            figures.boxed_text(axes, 0.0, index, label, "square,pad=0.15", transform=across, **look)
            continue
        labels.append((index, label))
        style = styles[row.arm]
        if row.interval:
            (bar,) = axes.plot(row.interval, [index, index], color=style.colour, linewidth=2.2)
            bar.set_solid_capstyle("round")
        mark: dict[str, Any] = {"marker": style.marker, "markersize": 6.5, "markeredgewidth": 1.5}
        mark["markerfacecolor"] = style.colour if row.winner else PAPER  # hollow: not shown
        axes.plot(row.mean, index, color=style.colour, linestyle="none", zorder=4, **mark)
    axes.set_yticks([place for place, _ in labels], [label for _, label in labels])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.12)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.08 * (high - low)), max(high, 0.08 * (high - low)))
    metric = entries[0].metric
    figures.number_axis(axes, "x", metric, signed=True)
    unit = "points" if metric.is_fraction else metric.unit
    axes.set_xlabel(f"difference in {unit}" if unit else "difference")
    return figure
