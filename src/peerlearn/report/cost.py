"""What an arm costs to train, one bar an arm, and what its peers cost to use."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from peerlearn.metrics.catalogue import COSTS, Metric
from peerlearn.report.experiment import is_value, mean_and_std
from peerlearn.report.figures import INK, Style, new_figure, number_axis, shorten
from peerlearn.report.section import Drawer, Section
from peerlearn.report.sizes import size_table
from peerlearn.report.tables import duration
from peerlearn.report.words import NO_BREAK, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTIONS = {
    "train_s": "Wall-clock time of training one seed",
    "forwards_per_step": "Training forwards in one step, all peers together",
    "peak_rss_mb": "Largest resident memory of the process",
}


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
        figure = draw_cost(values, labels, what.unit or what.label, draw.styles)
        charts.append(draw.chart("", title, caption, figure))
    sizes = size_table(draw.experiment)
    lead = "Using one peer; in percent of the largest." if sizes else ""
    return Section("cost", "Cost", charts=tuple(charts), legend=False, table=sizes, table_lead=lead)


def _label(what: Metric, mean: float) -> str:
    if what.unit == "seconds":
        return duration(mean)
    return f"{mean:.0f}{NO_BREAK}MB" if what.unit == "MB" else f"{mean:.3g}"


def draw_cost(
    values: Mapping[str, tuple[float, float]],
    labels: Mapping[str, str],
    unit: str,
    styles: Mapping[str, Style],
) -> "Figure":
    """Bars from zero with their value at the end and the standard deviation over seeds.

    Args:
        values: (mean, std) by arm.
        labels: the number to write at the end of each bar.
        unit: of the axis.
    """
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
