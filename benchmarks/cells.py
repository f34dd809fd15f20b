"""Cells of the tables on benchmark pages."""

from collections.abc import Sequence

from peerlearn.report.statistics import paired_difference


def difference_cell(
    ours: Sequence[float], theirs: Sequence[float], scale: int = 100, digits: int = 2
) -> str:
    """The mean difference with its 95 % interval, in bold where zero is outside.

    Args:
        ours, theirs: one value per seed, in one order of seeds; two seeds or more.
        scale: 100 shows fractions in percent.
        digits: decimals.
    """
    difference = paired_difference(ours, theirs)
    low, high = (scale * end for end in difference["ci95"])
    sure = "" if low <= 0 <= high else "**"
    mean = scale * difference["mean"]
    return f"{sure}{mean:+.{digits}f}{sure} [{low:+.{digits}f}, {high:+.{digits}f}]"
