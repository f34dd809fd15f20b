"""Who teaches whom, what, and through which loss; and how much each class counts in it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from peerlearn.report.experiment import is_value, spread
from peerlearn.report.figures import INK, MUTED, boxed_text, new_figure, shorten, svg_dashes
from peerlearn.report.section import Drawer, Section
from peerlearn.report.tables import Block, Cell, Row, Table
from peerlearn.report.words import counted, joined
from peerlearn.results import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Edge = dict[str, Any]
"""Of results.json."""
Place = tuple[float, float]
Look = tuple[str, float]
"""Colour and relative size of an arrow."""

# Line style and width by what is taught; the first word of the edge's knowledge decides.
_LINES: dict[str, tuple[Any, float]] = {
    "predictions": ("solid", 1.4),
    "features": ((0, (5, 2)), 1.4),
    "relations": ((0, (1.2, 1.6)), 1.7),
    "posteriors": ((0, (8, 2.2)), 1.4),
    "feature_distributions": ((0, (5, 1.6, 1.2, 1.6, 1.2, 1.6)), 1.4),
    "other_classes": ((0, (1.2, 1.6, 5, 1.6)), 1.4),
    "rankings": ((0, (6, 1.6, 1.4, 1.6)), 1.4),
    "masks": ((0, (2.4, 1.6)), 2.2),
}
_OTHER_LINE: tuple[Any, float] = ((0, (8, 1.5, 1.2, 1.5, 1.2, 1.5)), 1.4)
_SETTINGS = (
    ("temperature", "T ="),
    ("teacher_temperature", "teacher's T ="),
    ("teacher_ema", "teacher's average"),
    ("teacher_view", "of view"),
    ("weight", "weight"),
)
_LOOP = 0.12  # room above the peers for the arrows of those who teach themselves
_MOST_LABELS = 6  # more edges than this are told apart by the key under the figure alone


def transfer(draw: Drawer) -> Section:
    """The transfer graph of every arm that has edges; arms with equal edges share one."""
    arms = draw.experiment.arms
    shared: dict[str, list[str]] = {}
    for name, arm in arms.items():
        if arm["edges"]:
            shared.setdefault(repr((arm["edges"], list(arm["peers"]))), []).append(name)
    charts = []
    for names in shared.values():
        arm, style = arms[names[0]], draw.styles[names[0]]
        peers, edges = list(arm["peers"]), arm["edges"]
        kinds = [(kind, kind.reach(peers)) for kind in _edge_kinds(edges)]
        title = joined(names)
        counts = f"{counted(len(edges), 'edge')} between {counted(len(peers), 'peer')}"
        caption = f"An arrow runs from teacher to learner: {counts}."
        kinds_text = " ".join(f"{', '.join(kind.words)}: {reach}." for kind, reach in kinds)
        figure = partial(_draw, peers, edges, style.colour)
        put = draw.detail if len(peers) <= 2 else draw.chart  # words are enough for two
        chart = put("Transfer graph of", title, caption, figure, kinds_text)
        charts.append(replace(chart, title=title, edges=tuple(kinds), style=style))
    alone = [name for name, arm in arms.items() if not arm["edges"]]
    lead = f"No transfer in {joined(alone)}: the peers train alone." if alone else ""
    return Section("transfer", "Who teaches whom", lead, tuple(charts), legend=False)


def class_weights(draw: Drawer) -> Section:
    """A table of learned weights: a row for every arm and peer, a column for every class."""
    arms = draw.experiment.arms.items()
    learned = {arm: found for arm, block in arms if (found := block.get("class_weights"))}
    peers = [weights for found in learned.values() for weights in found.values()]
    classes = tuple(dict.fromkeys(name for weights in peers for name in weights))
    lead = "How much each peer's logit of a class counts in what it tells the others and is told, "
    lead += "at the end of training. With weights that start at 1, classes above 1 count for more."
    blocks = []
    for arm, found in learned.items():
        cells = {peer: tuple(_cell(of.get(name)) for name in classes) for peer, of in found.items()}
        rows = tuple(Row(f"peer {peer}", arm, row) for peer, row in cells.items())
        blocks.append(Block(arm if len(learned) > 1 else "", rows))
    table = Table(classes, tuple(blocks), ()) if classes else None
    title = "Learned class weights"
    return Section("weights", title, lead, legend=False, table=table, dense=True)


def _cell(weight: Summary | None) -> Cell:
    if weight is None or not is_value(weight):
        return Cell()
    std = spread(weight)
    return Cell(f"{weight['mean']:.2f}", "" if std is None else f"± {std:.2f}")


@dataclass(frozen=True)
class EdgeKind:
    """Edges that teach the same knowledge in the same way."""

    words: tuple[str, ...]  # knowledge, divergence, temperature, weight and gate
    pairs: tuple[tuple[str, str], ...]  # (from, to) of every edge
    dashes: str  # the line of the figure as SVG's `stroke-dasharray`
    width: float  # of that line, in points

    def reach(self, peers: Sequence[str]) -> str:
        """Which pairs the edges join, in words where there is one."""
        every = {(a, b) for a in peers for b in peers if a != b}
        if len(peers) > 1 and set(self.pairs) == every:
            return "both ways" if len(peers) == 2 else f"every ordered pair ({len(every)})"
        if set(self.pairs) == {(peer, peer) for peer in peers}:
            return "itself" if len(peers) == 1 else "each peer from itself"
        shown = [f"{source} → {target}" for source, target in self.pairs[:6]]
        more = len(self.pairs) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _edge_kinds(edges: Sequence[Edge]) -> list[EdgeKind]:
    """The edges grouped by what they teach and how, in order of first appearance."""
    kinds: dict[tuple[str, ...], list[Edge]] = {}
    for edge in edges:
        kinds.setdefault(_words(edge), []).append(edge)
    return [
        EdgeKind(words, tuple(map(_ends, alike)), svg_dashes(*_line(alike[0])), _line(alike[0])[1])
        for words, alike in kinds.items()
    ]


def _draw(peers: Sequence[str], edges: Sequence[Edge], colour: str) -> "Figure":
    """Peers on a circle and a curved arrow for every edge, from teacher to learner."""
    names = list(dict.fromkeys([*peers, *(name for edge in edges for name in _ends(edge))]))
    places = _places(names)
    two = len(names) <= 2
    bends = _bends(edges, 0.30 if two else 0.14)
    reach = max([0.26, *(bend + 0.12 for bend in bends if two)])  # beyond the outermost peers
    low = min(y for _, y in places.values()) - reach
    high = max(y for _, y in places.values()) + reach
    if any(edge["from"] == edge["to"] for edge in edges):
        high += _LOOP
    figure = new_figure(1.24 * (high - low))
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set(xlim=(-1.45, 1.45), ylim=(low, high))

    pills = {name: _pill(axes, name, places[name], len(names)) for name in names}

    look = (colour, 1.0 if len(edges) <= 12 else 0.75 if len(edges) <= 30 else 0.55)
    for edge, bend in zip(edges, bends, strict=True):
        source, target = _ends(edge)
        start, end = places[source], places[target]
        if source == target:
            _loop(axes, start, edge, look)
            continue
        pill, other = (pills[name].get_bbox_patch() for name in (source, target))
        touch = {"patchA": pill, "patchB": other, "shrinkA": 1.5, "shrinkB": 2.0}
        touch["zorder"] = 6  # after the pills, whose outlines are known only once they are drawn
        _arrow(axes, start, end, edge, look, connectionstyle=f"arc3,rad={-bend}", **touch)
        if len(edges) <= _MOST_LABELS:
            _label(axes, start, end, bend, _short_label(edge))
    return figure


def _ends(edge: Edge) -> tuple[str, str]:
    return str(edge["from"]), str(edge["to"])


def _bends(edges: Sequence[Edge], first: float) -> list[float]:
    """How far each edge bows out: a second edge between the same peers goes round the first."""
    seen: Counter[tuple[str, str]] = Counter()
    bends = []
    for pair in map(_ends, edges):
        bends.append(first + 0.24 * seen[pair])
        seen[pair] += 1
    return bends


def _places(names: Sequence[str]) -> dict[str, Place]:
    if len(names) == 1:
        return {names[0]: (0.0, 0.0)}
    if len(names) == 2:
        return {names[0]: (-1.0, 0.0), names[1]: (1.0, 0.0)}
    turn = 2 * math.pi / len(names)
    angles = {name: index * turn for index, name in enumerate(names)}
    return {name: (1.02 * math.sin(at), 1.02 * math.cos(at)) for name, at in angles.items()}


def _pill(axes: "Axes", name: str, place: Place, count: int) -> "Text":
    text, shape = shorten(name, 12 if count <= 5 else 9), "round,pad=0.55,rounding_size=0.9"
    look: dict[str, Any] = {"color": INK, "fontweight": "bold", "zorder": 5}
    outline = {"edgecolor": INK, "linewidth": 1.1}
    return boxed_text(axes, *place, text, shape, ha="center", outline=outline, **look)


def _arrow(axes: "Axes", start: Place, end: Place, edge: Edge, look: Look, **more: Any) -> None:
    from matplotlib.patches import FancyArrowPatch

    (line, width), (colour, size) = _line(edge), look
    head = f"-|>,head_length={4.5 * size},head_width={2.2 * size}"
    more |= {"linestyle": line, "linewidth": width * size, "color": colour, "joinstyle": "miter"}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=head, **more))


def _loop(axes: "Axes", place: Place, edge: Edge, look: Look) -> None:
    """An arrow that leaves a peer at its top left and comes back at its top right."""
    x, y = place
    start, end = (x - 0.09, y + 0.11), (x + 0.09, y + 0.11)
    arc = "arc3,rad=-1.5"
    _arrow(axes, start, end, edge, look, connectionstyle=arc, shrinkA=0, shrinkB=0, zorder=4)


def _label(axes: "Axes", start: Place, end: Place, bend: float, text: str) -> None:
    """Put the text on the crest of the arc that `arc3` draws between the two points."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    x = (start[0] + end[0]) / 2 - bend * dy / 2
    y = (start[1] + end[1]) / 2 + bend * dx / 2
    look = {"fontsize": 8.5, "color": MUTED, "zorder": 7}
    boxed_text(axes, x, y, text, "round,pad=0.18", ha="center", **look)


def _line(edge: Edge) -> tuple[Any, float]:
    words = str(edge.get("knowledge", "predictions")).replace(":", " ").split()
    first = words[0] if words else ""
    return _LINES.get(first, _LINES.get(first + "s", _OTHER_LINE))


def _words(edge: Edge) -> tuple[str, ...]:
    words = [str(edge.get("knowledge", "predictions"))]
    if edge.get("divergence") is not None:
        words.append(_divergence_label(edge["divergence"]))
    words += [f"{what} {_plain(edge[n])}" for n, what in _SETTINGS if edge.get(n) is not None]
    if edge.get("weighting") not in (None, "none"):
        words.append(f"weighting by {edge['weighting']}")
    if edge.get("gate") not in (None, "", "through"):
        words.append(f"gate {edge['gate']}")
    if edge.get("classes") not in (None, "all"):
        words.append(f"{edge['classes']} classes".replace("_", "-"))
    if edge.get("proven"):
        words.append(f"proven {edge['proven']}")
    return tuple(words)


def _short_label(edge: Edge) -> str:
    words = [_divergence_label(edge.get("divergence", ""))]
    weight = _plain(edge.get("weight", ""))
    if weight and weight != "1":
        words.append(weight if len(weight) <= 6 else f"{weight.split()[0]}…")
    return shorten(" · ".join(word for word in words if word), 16)


def _divergence_label(divergence: Any) -> str:
    """`kl` → KL, `python:my.module:name` → name; what else is longer stays as it was typed."""
    text = str(divergence)
    text = text.rpartition(":")[2] if text.startswith("python:") else text
    return text.upper() if text in ("kl", "js", "jsd", "mse", "l1", "l2", "w2", "bce") else text


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
