"""Which classes are taken for which: counts of rows, and what they say of every class.

Shapes: N rows, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peerlearn.data.account import some

if TYPE_CHECKING:
    from torch import Tensor

Cells = Mapping[str, Sequence[int]]
"""Rows by true and predicted class, `true`, `predicted` and `count`, without the empty cells."""
COLUMNS = ("true", "predicted", "count")


class OfClass(NamedTuple):
    """One class as scikit-learn's `classification_report` tells it; NaN where 0 is divided by 0."""

    precision: float  # of the rows that are said to be of it, the share that is
    recall: float  # of its rows, the share that is found
    f1: float  # 2tp / (2tp + fp + fn)
    support: int  # rows that are of it


def confused(log_probs: "Tensor", y: "Tensor") -> dict[str, list[int]]:
    """The cells of single-label predictions; a row that holds NaN is of no class, −1.

    Shapes: log_probs (N, C); y int64 (N,), every row with a label.
    """
    predicted = log_probs.argmax(1).masked_fill(log_probs.isnan().any(1), -1)
    places = log_probs.shape[1] + 1  # of the predicted classes, −1 among them
    cells, count = (y * places + predicted + 1).unique(return_counts=True)
    true, said = cells // places, cells % places - 1
    return dict(zip(COLUMNS, (true.tolist(), said.tolist(), count.tolist()), strict=True))


def added(several: Sequence[Cells]) -> dict[str, list[int]]:
    """The cells of several sets of rows together."""
    counts: dict[tuple[int, int], int] = {}
    for cells in several:
        for true, said, count in zip(*(cells[column] for column in COLUMNS), strict=True):
            counts[true, said] = counts.get((true, said), 0) + count
    rows = [(true, said, counts[true, said]) for true, said in sorted(counts)]
    return {column: [row[place] for row in rows] for place, column in enumerate(COLUMNS)}


def matrix(cells: Cells, classes: int) -> NDArray[np.int64]:
    """(C, C), true classes in rows, predicted ones in columns; rows of no class are left out."""
    dense = np.zeros((classes, classes), dtype=np.int64)
    for true, said, count in zip(*(cells[column] for column in COLUMNS), strict=True):
        if said >= 0:
            dense[true, said] += count
    return dense


def without_rows(cells: Cells, names: Sequence[str], rows: str = "test rows") -> str:
    """A sentence about the classes that no row is of, of which numbers say nothing; "" for none.

    `rows` is what they were measured on.
    """
    there = set(cells["true"])
    gone = [name for place, name in enumerate(names) if place not in there]
    if not gone:
        return ""
    return (
        f"{len(gone):,} of {len(names):,} classes have no {rows}, so the numbers say nothing of "
        f"them: {some(gone)}"
    )


def by_class(cells: Cells, classes: int) -> list[OfClass]:
    """Precision, recall, F1 and support of every class."""
    hits = matrix(cells, classes).diagonal()
    said = matrix(cells, classes).sum(0)
    there = np.bincount(cells["true"], weights=cells["count"], minlength=classes).astype(int)
    return [
        OfClass(_share(h, s), _share(h, t), _share(2 * h, s + t), t)
        for h, s, t in zip(hits.tolist(), said.tolist(), there.tolist(), strict=True)
    ]


def worst_pairs(cells: Cells, most: int) -> list[tuple[int, int, int]]:
    """(true, predicted, rows) of the most frequent mistakes, most frequent first."""
    wrong = [
        (true, said, count)
        for true, said, count in zip(*(cells[column] for column in COLUMNS), strict=True)
        if true != said and said >= 0
    ]
    return sorted(wrong, key=lambda pair: (-pair[2], pair[:2]))[:most]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
