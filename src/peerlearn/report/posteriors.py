"""How far apart the posteriors of Bayesian peers are, and how wide, epoch by epoch."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from peerlearn.report.curves import Runs, curves_of, draw_curve
from peerlearn.report.experiment import is_value
from peerlearn.report.figures import Style, new_figure
from peerlearn.report.section import Drawer, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLD = "posteriors"
"""What epochs and arms call it."""


def posteriors(draw: Drawer) -> Section:
    """For every pair the distance of its posteriors, and under it the agreement of its answers."""
    runs, charts = draw.experiment.epochs, []
    pairs = dict.fromkeys(
        pair
        for seeds in runs.values()
        for found in seeds.values()
        for event in found
        for pair in (event.get(TOLD) or {}).get("pairs", {})
    )
    for pair in pairs:
        figure = partial(_draw, runs, pair, draw.styles)
        caption = " ".join(_ends(draw.experiment.arms, pair))
        both = f"peers {pair.replace('~', ' and ')}"
        charts.append(draw.chart("Distance of the posteriors of", both, caption, figure))
    lead = "Above, the squared 2-Wasserstein distance between the posteriors of two peers; below, "
    lead += "how often they give the same answer on validation rows. Filters that grow or change "
    lead += "places move posteriors apart and change no answer: a distance alone is no diversity."
    return Section(TOLD, "Posteriors", lead, tuple(charts), legend=True)


def _draw(runs: Runs, pair: str, styles: Mapping[str, Style]) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    panels = {
        "W₂²": curves_of(runs, TOLD, "pairs", pair, "w2"),
        "agreement": curves_of(runs, TOLD, "pairs", pair, "agreement"),
    }
    panels = {label: curves for label, curves in panels.items() if curves}
    figure = new_figure(1.6 * len(panels) + 0.3)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, curves) in zip(grid, panels.items(), strict=True):
        for arm, curve in curves.items():
            draw_curve(axes, curve, styles[arm].colour, styles[arm].line)
        axes.set_ylabel(label)
    grid[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    grid[-1].set_xlabel("epoch")
    figure.align_ylabels()
    return figure


def _ends(arms: Mapping[str, Mapping[str, Any]], pair: str) -> Iterator[str]:
    """A sentence for each arm: where the last epoch ended."""
    for arm, block in arms.items():
        found = (block.get("posterior_distances") or {}).get(pair) or {}
        values = [
            f"{label} {found[name]['mean']:.3g}"
            for name, label in (("w2", "W₂²"), ("cosine", "cosine of the means"))
            if is_value(found.get(name))
        ]
        peers = [(block.get(TOLD) or {}).get(name) or {} for name in pair.split("~")]
        paid = [it["kl_per_row"]["mean"] for it in peers if is_value(it.get("kl_per_row"))]
        if paid:
            values.append(f"KL a row {' and '.join(f'{nats:.3g}' for nats in paid)} nats")
        if values:
            yield f"{arm} ends at {', '.join(values)}."
