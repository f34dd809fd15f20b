"""What an arm costs: one bar an arm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import INK, new_figure, shorten, tick_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Look = tuple[str, str, Any]


def draw_cost(
    values: Mapping[str, tuple[float, float]],
    labels: Mapping[str, str],
    unit: str,
    looks: Mapping[str, Look],
) -> "Figure":
    """Bars from zero with their value at the end and the standard deviation over seeds.

    Args:
        values: (mean, std) by arm.
        labels: the number to write at the end of each bar.
        unit: of the axis.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = new_figure(0.55 + 0.3 * len(values))
    axes = figure.add_subplot()
    top = max(mean + std for mean, std in values.values()) or 1.0
    for index, (arm, (mean, std)) in enumerate(values.items()):
        axes.barh(index, mean, height=0.58, color=looks[arm][0], linewidth=0)
        if std:
            axes.plot([mean - std, mean + std], [index, index], color=INK, linewidth=1.0)
        axes.text(mean + std + 0.02 * top, index, labels[arm], va="center", color=INK)
    axes.set_yticks(range(len(values)), [shorten(arm, 14) for arm in values])
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.set_xlim(0, 1.28 * top)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    return figure
