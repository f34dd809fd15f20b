"""Reliability diagram: how often a prediction is right, by how sure it is."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from peerlearn.metrics.catalogue import ACCURACY
from peerlearn.report.figures import MUTED, Style, new_figure, number_axis
from peerlearn.report.section import Drawer, Section
from peerlearn.report.words import number, who_label
from peerlearn.results import Bins

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability(draw: Drawer) -> Section:
    """A reliability diagram for every peer and the ensemble, all arms in each."""
    charts = []
    for name in [*draw.experiment.peers, "ensemble"]:
        found = {a: block["reliability"].get(name) for a, block in draw.experiment.arms.items()}
        bins = {a: t for a, t in found.items() if isinstance(t, dict) and reliability_rows(t)}
        if not bins:
            continue
        gaps = [
            f"{arm} {number(overconfidence(table), ACCURACY, signed=True)}"
            for arm, table in bins.items()
        ]
        caption = f"Confidence minus accuracy, in points: {', '.join(gaps)}."
        figure = draw_reliability(bins, draw.styles)
        charts.append(draw.chart("Reliability diagram of", who_label(name), caption, figure))
    lead = (
        "How often a prediction is right, by how sure it is. On the dotted diagonal confidence "
        "is honest; below it the peer is over-confident. Larger marks hold more rows."
    )
    return Section("reliability", "Calibration", lead, tuple(charts))


def draw_reliability(bins: Mapping[str, Bins], styles: Mapping[str, Style]) -> "Figure":
    """Accuracy over confidence by bin, every arm a line, and below the share of each bin.

    Args:
        bins: by arm, `{"confidence": [..], "accuracy": [..], "fraction": [..]}` with None in
            empty bins. The size of a mark grows with the share of the bin.
        styles: of the arms.
    """
    figure = new_figure(3.7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    for arm, table in bins.items():
        style = styles[arm]
        confidence, accuracy, share = zip(*reliability_rows(table), strict=True)
        sizes = [9 + 60 * part**0.5 for part in share]
        line = {"color": style.colour, "linestyle": style.line}
        upper.plot(confidence, accuracy, **line)
        dots = {"color": style.colour, "marker": style.marker, "linewidths": 0}
        upper.scatter(confidence, accuracy, sizes, zorder=3, **dots)
        lower.plot(confidence, share, marker=style.marker, markersize=3, **line)
    upper.set(xlim=(-0.02, 1.04), ylim=(-0.02, 1.04), ylabel="accuracy, %")
    lower.set(ylim=(0, None), ylabel="share, %", xlabel="confidence, %")
    for axes, axis in ((upper, "y"), (lower, "y"), (lower, "x")):
        number_axis(axes, axis, ACCURACY)
    lower.yaxis.get_major_locator().set_params(nbins=2)
    figure.align_ylabels()
    return figure


def reliability_rows(table: Bins) -> list[tuple[float, float, float]]:
    """(confidence, accuracy, fraction) of the bins that are not empty."""
    columns = [table.get(name) or [] for name in ("confidence", "accuracy", "fraction")]
    rows: Iterable[Any] = zip(*columns, strict=False)
    return [row for row in rows if all(isinstance(value, (int, float)) for value in row)]


def overconfidence(table: Bins) -> float:
    """Mean confidence minus mean accuracy, weighted by bin: above zero is over-confident."""
    return sum(share * (sure - right) for sure, right, share in reliability_rows(table))
