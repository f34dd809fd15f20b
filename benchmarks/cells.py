"""Cells of the tables on benchmark pages."""

from collections.abc import Sequence

import numpy as np

from peerlearn.report.intervals import ALPHA, holm
from peerlearn.report.statistics import paired_difference

Pair = tuple[Sequence[float], Sequence[float]]
"""Values of one arm and of another, one per seed, in one order of seeds."""


def difference_cells(
    pairs: Sequence[Pair], scale: int = 100, digits: int = 2, tested: bool = True
) -> list[str]:
    """Mean differences with 95 % intervals over seeds; bold where they are `tested` and shown.

    All pairs together are what was looked at: their p-values are adjusted by Holm's method. With
    fewer than three seeds, or where all seeds differ by the same, nothing is bold.

    Args:
        pairs: one a cell.
        scale: 100 shows fractions in percent.
        digits: decimals.
        tested: whether any may be bold; one metric of a table is.
    """
    found = [paired_difference(*pair) for pair in pairs]
    adjusted = holm(np.array([1.0 if each["p"] is None else each["p"] for each in found]))
    cells = []
    for each, p in zip(found, adjusted, strict=True):
        sure = "**" if tested and p <= ALPHA else ""
        cell = f"{sure}{scale * each['mean']:+.{digits}f}{sure}"
        if each["ci95"]:
            low, high = (scale * end for end in each["ci95"])
            cell += f" [{low:+.{digits}f}, {high:+.{digits}f}]"
        cells.append(cell)
    return cells
