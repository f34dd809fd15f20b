"""How far answers can be relied on: calibration, and what noise does to them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from peerlearn.metrics.catalogue import ACCURACY, NLL, Metric
from peerlearn.report.figures import MUTED, Style, draw_band, new_figure, number_axis
from peerlearn.report.section import Chart, Drawer, Section
from peerlearn.report.words import amount, number, who_label
from peerlearn.results import Bins

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Probe = tuple[Sequence[float], Sequence[float], Sequence[float]]  # sigma, mean, std
_BANDS = "Bands: one standard deviation over noise draws."


def reliability(draw: Drawer) -> Section:
    """A reliability diagram for every peer and the ensemble, all arms in each."""
    charts = []
    for name in [*draw.experiment.peers, "ensemble"]:
        found = {a: block["reliability"].get(name) for a, block in draw.experiment.arms.items()}
        bins = {a: t for a, t in found.items() if isinstance(t, dict) and _rows(t)}
        if not bins:
            continue
        over = {arm: _overconfidence(table) for arm, table in bins.items()}
        gaps = [f"{arm} {number(gap, ACCURACY, signed=True)}" for arm, gap in over.items()]
        caption = f"Confidence minus accuracy, in points: {', '.join(gaps)}."
        figure = partial(_draw_reliability, bins, draw.styles)
        charts.append(draw.detail("Reliability diagram of", who_label(name), caption, figure))
    lead = "How often a prediction is right, by how sure it is. On the dotted diagonal confidence "
    lead += "is honest; below it the peer is over-confident. Larger marks hold more rows."
    return Section("reliability", "Calibration", lead, tuple(charts))


def _draw_reliability(bins: Mapping[str, Bins], styles: Mapping[str, Style]) -> "Figure":
    """Accuracy over confidence by bin, every arm a line, and below the share of each bin."""
    figure = new_figure(3.7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    for arm, table in bins.items():
        style = styles[arm]
        confidence, accuracy, share = zip(*_rows(table), strict=True)
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


def _rows(table: Bins) -> list[tuple[float, float, float]]:
    """(confidence, accuracy, fraction) of the bins that are not empty."""
    columns = [table.get(name) or [] for name in ("confidence", "accuracy", "fraction")]
    rows: Iterable[Any] = zip(*columns, strict=False)
    return [row for row in rows if all(isinstance(value, (int, float)) for value in row)]


def _overconfidence(table: Bins) -> float:
    """Mean confidence minus mean accuracy, weighted by bin: above zero is over-confident."""
    return sum(share * (sure - right) for sure, right, share in _rows(table))


def flatness(draw: Drawer) -> Section:
    """Loss over weight noise for every peer that was probed."""
    lead = "Training loss as Gaussian noise is added to the weights: the later a line rises, "
    lead += f"the flatter the minimum. {_BANDS}"
    charts = _noise_charts(draw, "flatness", NLL, ("Flatness of", "loss", "weight"))
    return Section("flatness", "Flatness", lead, charts)


def noise(draw: Drawer) -> Section:
    """Accuracy over input noise for every peer and the ensemble, where it was measured."""
    lead = "Test accuracy as Gaussian noise is added to what the peers read, in units of the "
    lead += f"standard deviation of the data. {_BANDS}"
    charts = _noise_charts(draw, "noise", ACCURACY, ("Robustness of", "accuracy", "input"))
    return Section("noise", "Accuracy under noise", lead, charts)


def _noise_charts(
    draw: Drawer, key: Literal["flatness", "noise"], metric: Metric, words: tuple[str, str, str]
) -> tuple[Chart, ...]:
    """A chart for every peer; the words are what it is, what is measured, and what is noised."""
    what, quantity, noised = words
    probes: dict[str, dict[str, Probe]] = {}
    for arm, block in draw.experiment.arms.items():
        curves: Mapping[str, Any] = block.get(key) or {}
        sigma = curves.get("sigma") or []
        for peer, probe in (curves.get("peers") or {}).items():
            mean = probe.get("mean") or []
            std = probe.get("std") or [0.0] * len(mean)
            if sigma and len(mean) == len(std) == len(sigma):
                probes.setdefault(peer, {})[arm] = sigma, mean, std
    charts = []
    for peer, arms in probes.items():
        ends = [f"{arm} {amount(mean[-1], metric)}" for arm, (_, mean, _) in arms.items()]
        widest = max(sigma[-1] for sigma, _, _ in arms.values())
        caption = f"At σ = {widest:g} the {quantity} is {', '.join(ends)}."
        over = f"σ of the {noised} noise, relative"
        figure = partial(_draw_noise_curves, arms, draw.styles, over, quantity)
        charts.append(draw.chart(what, who_label(peer), caption, figure))
    return tuple(charts)


def _draw_noise_curves(
    probes: Mapping[str, Probe], styles: Mapping[str, Style], noise: str, quantity: str
) -> "Figure":
    """The quantity over the noise level, every arm a line with a band of one deviation."""
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    for arm, probe in probes.items():
        style = styles[arm]
        draw_band(axes, *probe, style.colour, marker=style.marker, linestyle=style.line)
    axes.set_ylim(bottom=0)
    axes.set(xlabel=noise, ylabel=quantity)
    for axis in ("x", "y"):
        number_axis(axes, axis)
    return figure
