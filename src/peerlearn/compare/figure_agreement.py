"""How alike two peers answer, and how alike they err."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figures import INK, MUTED, PAPER, new_figure, shorten
from peerlearn.compare.report_folders import is_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]
_MOST = 0.62  # opacity of the darkest cell: ink on it stays readable


def pair_means(table: Json) -> dict[tuple[str, str], float]:
    """`{"a~b": {"mean": 0.9}}` → `{("a", "b"): 0.9}`."""
    pairs = {}
    for name, value in table.items():
        first, _, second = name.partition("~")
        if second and is_value(value):
            pairs[first, second] = float(value["mean"])
    return pairs


def draw_agreement(
    peers: Sequence[str],
    agreement: dict[tuple[str, str], float],
    errors: dict[tuple[str, str], float],
    scale: tuple[float, float],
    colour: str,
) -> "Figure":
    """A square of peers by peers: agreement below the diagonal, error correlation above it.

    Args:
        agreement: fraction of test rows on which two peers give the same answer.
        errors: correlation of their errors; empty leaves the upper half to agreement too.
        scale: the agreement that is drawn palest and that drawn darkest, common to all arms.
        colour: of the arm.
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
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    facecolor=MUTED if table is errors else colour,
                    alpha=0.08 + (_MOST - 0.08) * depth,
                    linewidth=0,
                )
            )
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=PAPER, linewidth=2)
            )
            text = f"{value:.2f}" if table is errors else f"{100 * value:.1f}"
            axes.text(
                column,
                row,
                text.replace("-", "−"),
                ha="center",
                va="center",
                color=INK,
                fontsize=size,
            )
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
