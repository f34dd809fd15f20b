"""Which classes are taken for which, and how well every class is found."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peerlearn.metrics.catalogue import ACCURACY
from peerlearn.metrics.confusion import Cells, by_class, matrix, without_rows, worst_pairs
from peerlearn.report.experiment import Experiment, measured
from peerlearn.report.figures import INK, new_figure, shorten
from peerlearn.report.section import Chart, Drawer, Section
from peerlearn.report.tables import Block, Cell, Row, Table
from peerlearn.report.words import number, who_label
from peerlearn.results import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERS = 12
"""Classes of which every cell of the map has its number in it."""
MOST_NAMED = 26
"""Classes of which every row of the map has its name beside it."""
MOST_DRAWN = 50
"""Classes that a map shows; the mistakes of more are listed."""
MOST_PAIRS = 5
WORST = 10
"""Classes of which a table tells at once where there are more than a map shows."""


class Shown(NamedTuple):
    """Whose confusion is shown, and what it is."""

    arm: str
    who: str
    cells: Cells


def confusion(draw: Drawer) -> Section:
    """Of the main arm the ensemble and its best peer, beside the ensemble of the other arm."""
    experiment = draw.experiment
    found = _shown(experiment)
    if not found:
        return Section("confusion", "Classes")
    classes = experiment.arms[found[0].arm]["confusion"]["classes"]
    lead = "Precision: of the rows that are said to be of a class, the share that is. Recall: of "
    lead += "the rows of a class, the share that is found. F1 is their harmonic mean."
    columns = f"The first columns are of the {_name(found[0], len(draw.styles))}."
    if len(experiment.seeds) > 1:
        lead += f" Rows of all {len(experiment.seeds)} seeds together."
    if untested := without_rows(found[0].cells, classes, experiment.pages.rows):
        lead += f" {untested}."
    charts = tuple(_chart(draw, one, classes) for one in found[:2])
    return Section(
        "confusion",
        "Classes",
        lead,
        charts,
        legend=False,
        table=_table(found, classes),
        table_lead=columns,
        dense=True,
    )


def _shown(experiment: Experiment) -> list[Shown]:
    """Ensemble and best peer of the main arm, then the ensemble of the one it is set against."""
    found: list[Shown] = []
    for arm in experiment.main_arms:
        block = experiment.arms[arm]
        if (measured_cells := block.get("confusion")) is None:
            continue
        who = ["ensemble"] if len(block["peers"]) > 1 else []
        who += [] if found and who else _best(experiment, block)
        found += [Shown(arm, name, measured_cells["of"][name]) for name in who]
    return found


def _best(experiment: Experiment, block: Arm) -> list[str]:
    """The peer that is best by the metric that tells most, the first of equals."""
    values = {peer: measured(block, peer) for peer in block["peers"]}
    metric = experiment.main_metric([name for metrics in values.values() for name in metrics])
    if metric is None:
        return list(values)[:1]
    return [metric.best({peer: v[metric.name]["mean"] for peer, v in values.items()})]


def _chart(draw: Drawer, one: Shown, classes: Sequence[str]) -> Chart:
    counts = matrix(one.cells, len(classes))
    pairs = [
        f"{classes[true]} for {classes[said]} ({rows:,} of {counts[true].sum():,})"
        for true, said, rows in worst_pairs(one.cells, MOST_PAIRS)
    ]
    caption = "No class is taken for another."
    if pairs:
        caption = f"Taken for another most often: {', '.join(pairs)}."
    title = _name(one, len(draw.styles))
    if len(classes) > MOST_DRAWN:
        return Chart(title, "", caption)
    figure = partial(_draw, counts, classes, draw.styles[one.arm].colour)
    return draw.detail("Confusion of", title, caption, figure)


def _name(one: Shown, arms: int) -> str:
    return f"{who_label(one.who)} of {one.arm}" if arms > 1 else who_label(one.who)


def _draw(counts: NDArray[np.int64], classes: Sequence[str], colour: str) -> "Figure":
    """True classes in rows, predicted ones in columns; the darker, the more of a row."""
    from matplotlib.patches import Rectangle

    count = len(classes)
    figure = new_figure(3.4)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for true, said in zip(*counts.nonzero(), strict=True):
        share = float(shares[true, said])
        opacity = 0.06 + 0.64 * share**0.5  # of mistakes, which are few, something is to be seen
        place = (said - 0.5, true - 0.5)
        axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, alpha=opacity, linewidth=0))
        if count <= MOST_NUMBERS:
            text, size = f"{counts[true, said]:,}", 8.5 if count <= 7 else 7.0
            axes.text(said, true, text, ha="center", va="center", color=INK, fontsize=size)
    step = 1 if count <= MOST_NAMED else 5
    names = [shorten(name, 9) for name in classes]
    axes.set_xticks(range(0, count, step), names[::step])
    axes.set_yticks(range(0, count, step), names[::step])
    size = 8.5 if count <= MOST_NUMBERS else 7.0
    axes.tick_params(length=0, labelcolor=INK, labelsize=size)
    if max(map(len, names)) > 2:
        axes.tick_params(axis="x", labelrotation=90)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def _table(found: Sequence[Shown], classes: Sequence[str]) -> Table:
    """A row a class: how many rows; precision, recall and F1 of the first, F1 of the others.

    Of many classes those of lowest F1 are shown at once, the others folded away.
    """
    parts = [by_class(one.cells, len(classes)) for one in found]
    columns = ["rows", "precision, %", "recall, %", "F1, %"]
    same = [one.arm == found[0].arm for one in found]
    columns += [
        f"F1, %, {who_label(one.who) if own else one.arm}"
        for one, own in zip(found[1:], same[1:], strict=True)
    ]
    rows = []
    for name, *own in zip(classes, *parts, strict=True):
        shares = [*own[0][:3], *(other.f1 for other in own[1:])]
        cells = (Cell(f"{own[0].support:,}"), *(Cell(number(v, ACCURACY)) for v in shares))
        rows.append(Row(name, found[0].arm, cells))
    if len(classes) <= MOST_DRAWN:
        return Table(tuple(columns), (Block("", tuple(rows)),), ())
    order = sorted(range(len(rows)), key=lambda n: -1 if (f := parts[0][n].f1) != f else f)
    worst = tuple(rows[n] for n in order[:WORST])
    return Table(tuple(columns), (Block("", worst),), (Block("", tuple(rows)),))
