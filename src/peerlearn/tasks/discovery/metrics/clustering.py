"""Clusters against classes, and pairs of rows against the truth.

A cluster's number means nothing, so clusters are matched with classes first. A row of cluster −1
is in none and counts as wrong; a row of class −1 has no truth.

Shapes: N rows, K clusters, C classes, M rows of a batch.
"""

import torch
from torch import Tensor

from peerlearn.errors import InputError


def align(assignments: Tensor, truth: Tensor) -> Tensor:
    """The class of every cluster, each class at most once, by which most rows are right.

    Hungarian method; there may be more clusters than classes, or fewer.

    Shapes:
        assignments: (N,), int; truth: (N,), int.
        result: (K,), int64 with K = 1 + the largest cluster; −1 for a cluster without a class.

    Raises:
        InputError: not one cluster and one class a row, or no rows.
    """
    _check(assignments, truth)
    return matched(shared_rows(assignments, truth))


def cluster_accuracy(assignments: Tensor, truth: Tensor) -> float:
    """Share of the rows that are right once clusters have their classes; see `align`."""
    return right_rows(assignments, truth, align(assignments, truth)).double().mean().item()


def right_rows(assignments: Tensor, truth: Tensor, classes: Tensor) -> Tensor:
    """Which rows are of the class of their cluster.

    Args:
        assignments: cluster of every row.
        truth: class of every row.
        classes: of every cluster, from `align`.

    Shapes:
        assignments, truth: (N,); classes: (K,); result: (N,), bool.
    """
    classes = classes.to(assignments.device)
    found = torch.where(assignments >= 0, classes[assignments.clamp_min(0)], -1)
    return (found == truth) & (truth >= 0)


def nmi(assignments: Tensor, truth: Tensor) -> float:
    """Normalised mutual information, I / mean of both entropies: 0 to 1, whatever the numbers."""
    from sklearn.metrics import normalized_mutual_info_score

    _check(assignments, truth)
    return float(normalized_mutual_info_score(truth.cpu(), assignments.cpu()))


def ari(assignments: Tensor, truth: Tensor) -> float:
    """Adjusted Rand index: 1 for the same partition, 0 on average for one by chance."""
    from sklearn.metrics import adjusted_rand_score

    _check(assignments, truth)
    return float(adjusted_rand_score(truth.cpu(), assignments.cpu()))


def pair_metrics(same: Tensor, truth: Tensor) -> dict[str, float]:
    """How right a matrix of "these two rows are of one class" is, over pairs of different rows.

    - `accuracy`: share of the pairs that are right.
    - `precision`: share of those said to be of one class that are; 0 where none is said to be.
    - `recall`: share of those of one class that are said to be; 0 where there are none.

    Shapes:
        same: (M, M), bool; truth: (M,), int.

    Raises:
        InputError: shapes do not fit, or fewer than two rows.
    """
    rows = len(truth)
    if rows < 2 or same.shape != (rows, rows):
        raise InputError(
            f"metrics: pairs {tuple(same.shape)} and truth {tuple(truth.shape)}; expected (M, M) "
            "and (M,) with at least two rows"
        )
    different = ~torch.eye(rows, dtype=torch.bool, device=same.device)
    said, true = same[different].bool(), (truth[:, None] == truth)[different]
    hits = int((said & true).sum())
    return {
        "accuracy": (said == true).double().mean().item(),
        "precision": hits / max(int(said.sum()), 1),
        "recall": hits / max(int(true.sum()), 1),
    }


def shared_rows(
    first: Tensor, second: Tensor, clusters: int | None = None, classes: int | None = None
) -> Tensor:
    """Rows of every cluster of `first` and class of `second`; those of −1 in either are left out.

    Args:
        first: cluster of every row.
        second: class of every row.
        clusters: K; None for 1 + the largest.
        classes: C; None for 1 + the largest.

    Shapes:
        first, second: (N,), int; result: (K, C), int64.
    """
    rows = clusters or max(int(first.max()) + 1, 1)
    columns = classes or max(int(second.max()) + 1, 1)
    kept = (first >= 0) & (second >= 0)
    cells = first[kept].long() * columns + second[kept]
    return cells.bincount(minlength=rows * columns).view(rows, columns)


def matched(table: Tensor) -> Tensor:
    """The column of every row of `table`, each at most once, with the largest sum; −1 for none.

    Shapes:
        table: (K, C); result: (K,), int64, on the CPU.
    """
    from scipy.optimize import linear_sum_assignment

    columns = torch.full((len(table),), -1)
    rows, chosen = map(torch.from_numpy, linear_sum_assignment(table.cpu(), maximize=True))
    columns[rows] = chosen
    return columns


def _check(assignments: Tensor, truth: Tensor) -> None:
    if assignments.shape != truth.shape or truth.ndim != 1 or not len(truth):
        raise InputError(
            f"metrics: clusters {tuple(assignments.shape)} and truth {tuple(truth.shape)}; "
            "expected (N,) of both, with at least one row"
        )
    if assignments.is_floating_point() or truth.is_floating_point():
        raise InputError(
            f"metrics: clusters are {assignments.dtype} and truth {truth.dtype}; expected integers"
        )
