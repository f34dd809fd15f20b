"""When edges were open that must prove themselves on validation rows (`transfer.proven`)."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from peerlearn.report.figures import MUTED, Style, new_figure, over_seeds, shorten
from peerlearn.report.section import Drawer, Section
from peerlearn.report.words import counted, joined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from peerlearn.report.experiment import Epochs

_MOST = 12  # edges that are named; the others are counted
Pair = tuple[str, str]
"""Teacher and learner."""


def open_edges(draw: Drawer) -> Section:
    """A strip for every edge: the share of seeds in which it was open, epoch by epoch."""
    charts = []
    for arm, seeds in draw.experiment.epochs.items():
        shares = _shares(seeds)
        if not shares:
            continue
        figure = partial(_draw, shares, draw.styles[arm])
        shut = never_open(draw.experiment.arms[arm].get("open_edges") or {})
        caption = f"An edge is open where its strip is filled. {shut or 'Every edge opened.'}"
        charts.append(draw.chart("When edges were open in", arm, caption, figure))
    lead = "An edge teaches while validation shows that its ends are right where they would speak; "
    lead += "none does before the first validation."
    if any(len(seeds) > 1 for seeds in draw.experiment.epochs.values()):
        lead += " A strip is as high as the share of seeds in which its edge was open."
    return Section("open", "When edges were open", lead, tuple(charts), legend=False)


def never_open(shares: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence that names the edges which stayed shut in every seed; empty where none did.

    `shares` is `open_edges` of an arm of results.json.
    """
    edges = {
        f"{teacher} → {learner}": share["mean"]
        for learner, teachers in shares.items()
        for teacher, share in teachers.items()
    }
    shut = [edge for edge, share in edges.items() if not share]
    if not shut:
        return ""
    if len(shut) == len(edges):
        return f"No edge opened of {len(edges)}: all peers trained alone."
    more = len(shut) - _MOST
    named = [*shut[:_MOST], *([f"{more} more"] if more > 0 else [])]
    return f"{counted(len(shut), 'edge')} of {len(edges)} stayed shut: {joined(named)}."


def _shares(seeds: "Mapping[int, Epochs]") -> dict[Pair, list[float]]:
    """By edge, epoch by epoch, the mean over seeds of what was open after it."""
    events = [event for found in seeds.values() for event in found]
    pairs: dict[Pair, None] = {}
    for event in events:
        for learner, teachers in (event.get("open") or {}).items():
            pairs.update(dict.fromkeys((teacher, learner) for teacher in teachers))
    return {
        pair: over_seeds([_of_seed(found, pair) for found in seeds.values()])[0] for pair in pairs
    }


def _of_seed(epochs: "Epochs", pair: Pair) -> list[float]:
    """Open or not after every epoch: as before where none was validated, 0 before the first."""
    teacher, learner = pair
    series, now = [], 0.0
    for event in epochs:
        if (told := event.get("open")) is not None:
            now = float(told.get(learner, {}).get(teacher, 0.0))
        series.append(now)
    return series


def _draw(shares: dict[Pair, list[float]], style: Style) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(0.55 + 0.2 * len(shares))
    axes = figure.add_subplot()
    names = [f"{teacher} → {learner}" for teacher, learner in reversed(shares)]
    for row, series in enumerate(reversed(shares.values())):  # the first on top
        epochs = [n + 1 for n in range(len(series))]
        tops = [row + 0.8 * share for share in series]
        axes.fill_between(epochs, row, tops, step="post", color=style.colour, linewidth=0)
        axes.axhline(row, color=MUTED, linewidth=0.5)
    axes.set_yticks([row + 0.4 for row in range(len(names))], [shorten(n, 24) for n in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    longest = max(map(len, shares.values()))
    axes.set(xlim=(0.5, longest + 0.5), ylim=(-0.1, len(names)), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure
