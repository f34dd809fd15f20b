"""A quantity over a growing level of noise, on weights or on what the peers read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from peerlearn.metrics.catalogue import ACCURACY, NLL, Metric
from peerlearn.report.figures import Style, draw_band, new_figure, number_axis
from peerlearn.report.section import Chart, Drawer, Section
from peerlearn.report.words import amount, who_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Probe = tuple[Sequence[float], Sequence[float], Sequence[float]]  # sigma, mean, std


def flatness(draw: Drawer) -> Section:
    """Loss over weight noise for every peer that was probed."""
    lead = (
        "Training loss as Gaussian noise is added to the weights: the later a line rises, "
        "the flatter the minimum. Bands: one standard deviation over noise draws."
    )
    charts = _charts(draw, "flatness", NLL, ("Flatness of", "loss", "weight"))
    return Section("flatness", "Flatness", lead, charts)


def noise(draw: Drawer) -> Section:
    """Accuracy over input noise for every peer and the ensemble, where it was measured."""
    lead = (
        "Test accuracy as Gaussian noise is added to what the peers read, in units of the "
        "standard deviation of the data. Bands: one standard deviation over noise draws."
    )
    charts = _charts(draw, "noise", ACCURACY, ("Robustness of", "accuracy", "input"))
    return Section("noise", "Accuracy under noise", lead, charts)


def _charts(
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
        figure = draw_noise_curves(
            arms, draw.styles, f"σ of the {noised} noise, relative", quantity
        )
        charts.append(draw.chart(what, who_label(peer), caption, figure))
    return tuple(charts)


def draw_noise_curves(
    probes: Mapping[str, Probe], styles: Mapping[str, Style], noise: str, quantity: str
) -> "Figure":
    """The quantity over the noise level, every arm a line with a band of one standard deviation.

    Args:
        probes: by arm.
        styles: of the arms.
        noise, quantity: what the axes say.
    """
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
