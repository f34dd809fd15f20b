"""Pseudo-labels of pairs against the truth: precision over recall."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from peerlearn.compare.figures import INK, new_figure, percent_axis, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Look = tuple[str, str, Any]
Value = tuple[float, float]  # mean and standard deviation over seeds


class Pairs(NamedTuple):
    """How right one peer's pseudo-labels are.

    Attributes:
        recall: of the pairs that are of one class, the share that is said to be.
        precision: of the pairs that are said to be of one class, the share that is.
        look: colour, marker and dashes.
        name: written beside the mark.
    """

    recall: Value
    precision: Value
    look: Look
    name: str = ""


def draw_pairs(several: Sequence[Pairs], widest: float) -> "Figure":
    """A mark for each, with bars of one standard deviation over seeds.

    Args:
        several: what to draw.
        widest: the largest recall of the axis, so that several figures can be compared.
    """
    figure = new_figure(2.4)
    axes = figure.add_subplot()
    for recall, precision, (colour, marker, _), name in several:
        axes.errorbar(
            recall[0],
            precision[0],
            xerr=recall[1] or None,
            yerr=precision[1] or None,
            color=colour,
            marker=marker,
            markersize=6.5,
            elinewidth=1.2,
        )
        left = recall[0] > widest / 2
        axes.annotate(
            shorten(name, 20),
            (recall[0], precision[0]),
            xytext=(-7 if left else 7, 5),
            textcoords="offset points",
            ha="right" if left else "left",
            color=INK,
        )
    axes.set_xlim(0, 1.08 * widest)
    axes.set_ylim(0, 1.04)
    for axis in ("x", "y"):
        percent_axis(axes, axis)
    axes.set_xlabel("recall of pairs, %")
    axes.set_ylabel("precision of pairs, %")
    return figure
