"""Clusters against classes and against clusters of other networks, and pairs against the truth.

A cluster's number means nothing, so clusters are matched with classes first. A row of cluster −1
is in none and counts as wrong; a row of class −1 has no truth.

Shapes: N rows, K clusters, C classes, M rows of a batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from peerlearn.errors import InputError


def align(assignments: Tensor, truth: Tensor) -> Tensor:
    """The class of every cluster, each class at most once, by which most rows are right.

    Hungarian method; there may be more clusters than classes, or fewer. The result is int64 (K,), K
    being 1 + the largest cluster; −1 for a cluster without a class.

    Raises InputError: not one cluster and one class (N,) a row, in integers, or no rows.
    """
    _check(assignments, truth)
    return matched(shared_rows(assignments, truth))


def cluster_accuracy(assignments: Tensor, truth: Tensor) -> float:
    """Share of the rows that are right once clusters have their classes; see `align`."""
    return right_rows(assignments, truth, align(assignments, truth)).double().mean().item()


def right_rows(assignments: Tensor, truth: Tensor, classes: Tensor) -> Tensor:
    """Which rows, bool (N,), are of the class of their cluster, in `classes` (K,) from `align`."""
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

    Raises InputError: not bool (M, M) and int (M,), or fewer than two rows.
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
    """Rows of every cluster of `first` (N,) and class of `second` (N,), as a table int64 (K, C).

    Those of −1 in either are left out. K and C are 1 + the largest number unless they are given.
    """
    rows = clusters or max(int(first.max()) + 1, 1)
    columns = classes or max(int(second.max()) + 1, 1)
    kept = (first >= 0) & (second >= 0)
    cells = first[kept].long() * columns + second[kept]
    return cells.bincount(minlength=rows * columns).view(rows, columns)


def matched(table: Tensor) -> Tensor:
    """The columns of all rows of a table, each at most once, with the largest sum; −1 for none.

    Of a table (K, C) they are int64 (K,), on the CPU.
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


class Clusters(NamedTuple):
    """What N rows were decided to be.

    `number` is counted from the first column that was asked about, −1 for none; `confidence` is its
    probability, 0 to 1, NaN for none.
    """

    number: Tensor
    confidence: Tensor


def matched_members(members: Sequence[Tensor], known: int, rows: Tensor) -> list[Tensor]:
    """The members' logits (N, known + new), with new classes in the order of the first member's.

    Clusters of two members are matched one to one, so that most rows are shared (Hungarian method),
    of those that `rows`, bool (N,), says; no truth is read for it.
    """
    orders = cluster_orders([z[rows] for z in members], known)
    return [in_order(z, order, known) for z, order in zip(members, orders, strict=True)]


def cluster_orders(members: Sequence[Tensor], known: int) -> list[Tensor]:
    """Of every member's logits, which of its new classes is number 0, 1, … of the first member."""
    first, *others = (decided([z], slice(known, None)).number for z in members)
    new = members[0].shape[1] - known
    orders = [matched(shared_rows(first, other, new, new)) for other in others]
    return [torch.arange(new), *orders]


def in_order(logits: Tensor, order: Tensor, known: int) -> Tensor:
    """The logits with new classes in an order of `cluster_orders`."""
    return torch.cat([logits[:, :known], logits[:, known + order]], 1)


def decided(members: Sequence[Tensor], columns: slice) -> Clusters:
    """The likeliest of some classes, by the mean probability of all of them over members.

    Members are logits (N, classes); a row with NaN logits is of none.
    """
    p = torch.stack([z[:, columns].softmax(1) for z in members]).mean(0)
    confidence, number = p.max(1)
    return Clusters(number.masked_fill(p.isnan().any(1), -1), confidence)
