"""How alike two peers answer, and how alike they err."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from peerlearn.metrics.catalogue import AGREEMENT
from peerlearn.report.experiment import is_value
from peerlearn.report.figures import INK, MUTED, PAPER, new_figure, shorten
from peerlearn.report.section import Drawer, Section
from peerlearn.report.words import amount
from peerlearn.results import Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 0.62  # opacity of the darkest cell: ink on it stays readable
Pairs = Mapping[tuple[str, str], float]


def agreement(draw: Drawer) -> Section:
    """A heat map of every arm with more than one peer."""
    arms = draw.experiment.arms
    tables = {}
    for name, arm in arms.items():
        agreements, errors = (
            _pair_means(arm["between_peers"].get(key) or {})
            for key in ("agreement", "error_correlation")
        )
        if agreements:
            tables[name] = agreements, errors
    values = [value for agreements, _ in tables.values() for value in agreements.values()]
    scale = (min(values) - 0.01, max(values) + 0.01) if values else (0.0, 1.0)
    charts = []
    for name, (agreements, errors) in tables.items():
        peers = [peer for peer in arms[name]["peers"] if any(peer in pair for pair in agreements)]
        mean = sum(agreements.values()) / len(agreements)
        caption = f"Two peers give the same answer on {amount(mean, AGREEMENT)} of "
        caption += draw.experiment.pages.rows
        if errors:
            caption += f"; their errors correlate at {sum(errors.values()) / len(errors):.2f}"
        caption += " (means over pairs)." if len(agreements) > 1 else "."
        figure = partial(_draw, peers, agreements, errors, scale, draw.styles[name].colour)
        chart = draw.detail("Agreement between the peers of", name, caption, figure)
        charts.append(replace(chart, title=name))
    lead = "Peers that teach each other grow alike; the less their errors correlate, the more "
    lead += "an ensemble of them can gain."
    return Section("agreement", "Agreement between peers", lead, tuple(charts), legend=False)


def _pair_means(table: Measured) -> Pairs:
    """`{"a~b": {"mean": 0.9}}` → `{("a", "b"): 0.9}`."""
    found = {tuple(name.split("~", 1)): value for name, value in table.items() if "~" in name}
    return {(a, b): float(v["mean"]) for (a, b), v in found.items() if is_value(v)}


def _draw(
    peers: list[str], agreement: Pairs, errors: Pairs, scale: tuple[float, float], colour: str
) -> "Figure":
    """A square of peers by peers: agreement below the diagonal, error correlation above it.

    Without `errors` the upper half is agreement too; `scale` is the palest and the darkest.
    """
    from matplotlib.patches import Rectangle

    count = len(peers)
    figure = new_figure(1.0 + min(0.62, 2.6 / count) * count)
    axes = figure.add_subplot()
    size = 9.0 if count <= 6 else 8.5
    for row, first in enumerate(peers):
        for column, second in enumerate(peers):
            upper = column > row
            table = errors if upper and errors else agreement
            value = table.get((first, second), table.get((second, first)))
            if row == column or value is None:
                axes.text(column, row, "·", ha="center", va="center", color=MUTED)
                continue
            low, high = (0.0, 1.0) if table is errors else scale
            depth = min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))
            square = partial(Rectangle, (column - 0.5, row - 0.5), 1, 1)
            fill = MUTED if table is errors else colour
            opacity = 0.08 + (_MOST - 0.08) * depth
            axes.add_patch(square(facecolor=fill, alpha=opacity, linewidth=0))
            axes.add_patch(square(fill=False, edgecolor=PAPER, linewidth=2))
            text = f"{value:.2f}" if table is errors else f"{100 * value:.1f}"
            text = text.replace("-", "−")
            axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=size)
    names = [shorten(peer, 9 if count <= 4 else 6) for peer in peers]
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0, labelcolor=INK)
    axes.xaxis.tick_top()
    if count > 4 and max(map(len, names)) > 4:
        axes.tick_params(axis="x", labelrotation=45)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.set_xlabel("below: agreement, %" + (" · above: error corr." if errors else ""))
    return figure
