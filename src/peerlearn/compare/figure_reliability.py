"""Reliability diagram: how often a prediction is right, by how sure it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import MUTED, new_figure, percent_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]
Look = tuple[str, str, Any]


def draw_reliability(bins: Mapping[str, Json], looks: Mapping[str, Look]) -> "Figure":
    """Accuracy over confidence by bin, every arm a line, and below the share of each bin.

    Args:
        bins: by arm, `{"confidence": [..], "accuracy": [..], "fraction": [..]}` with None in
            empty bins. The size of a mark grows with the share of the bin.
        looks: of the arms.
    """
    figure = new_figure(3.7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    for arm, table in bins.items():
        colour, marker, dashes = looks[arm]
        rows = reliability_rows(table)
        confidence = [row[0] for row in rows]
        upper.plot(confidence, [row[1] for row in rows], color=colour, linestyle=dashes)
        upper.scatter(
            confidence,
            [row[1] for row in rows],
            s=[9 + 60 * row[2] ** 0.5 for row in rows],
            color=colour,
            marker=marker,
            linewidths=0,
            zorder=3,
        )
        lower.plot(
            confidence, [row[2] for row in rows], color=colour, linestyle=dashes, marker=marker,
            markersize=3,
        )  # fmt: skip
    upper.set(xlim=(-0.02, 1.04), ylim=(-0.02, 1.04), ylabel="accuracy, %")
    lower.set(ylim=(0, None), ylabel="share, %", xlabel="confidence, %")
    for axes in (upper, lower):
        percent_axis(axes, "y")
    percent_axis(lower, "x")
    lower.yaxis.get_major_locator().set_params(nbins=2)
    figure.align_ylabels()
    return figure


def reliability_rows(table: Json) -> list[tuple[float, float, float]]:
    """(confidence, accuracy, fraction) of the bins that are not empty."""
    columns = [table.get(name) or [] for name in ("confidence", "accuracy", "fraction")]
    rows = zip(*columns, strict=False)
    return [row for row in rows if all(isinstance(value, (int, float)) for value in row)]


def overconfidence(table: Json) -> float:
    """Mean confidence minus mean accuracy, weighted by bin: above zero is over-confident."""
    return sum(share * (sure - right) for sure, right, share in reliability_rows(table))
