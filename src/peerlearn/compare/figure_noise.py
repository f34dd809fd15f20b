"""A quantity over a growing level of noise, on weights or on what the peers read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import new_figure, tick_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Look = tuple[str, str, Any]
Probe = tuple[Sequence[float], Sequence[float], Sequence[float]]  # sigma, mean, std


def draw_noise_curves(
    probes: Mapping[str, Probe], looks: Mapping[str, Look], noise: str, quantity: str
) -> "Figure":
    """The quantity over the noise level, every arm a line with a band of one standard deviation.

    Args:
        probes: by arm.
        looks: colour, marker and dashes of each arm.
        noise, quantity: what the axes say.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = new_figure(2.3)
    axes = figure.add_subplot()
    for arm, (sigma, mean, std) in probes.items():
        colour, marker, dashes = looks[arm]
        low = [m - s for m, s in zip(mean, std, strict=True)]
        high = [m + s for m, s in zip(mean, std, strict=True)]
        axes.fill_between(sigma, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(sigma, mean, color=colour, marker=marker, linestyle=dashes)
    axes.set_ylim(bottom=0)
    axes.set(xlabel=noise, ylabel=quantity)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    return figure
