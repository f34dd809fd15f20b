"""Networks that found clusters, each with numbers of its own, as one.

Shapes: N rows, known + new logits, known classes first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from peerlearn.tasks.discovery.metrics.clustering import matched, shared_rows


class Clusters(NamedTuple):
    """What rows were decided to be.

    Shapes:
        number: int64 (N,), counted from the first column that was asked about; −1 for none.
        confidence: (N,), its probability, 0 to 1; NaN for none.
    """

    number: Tensor
    confidence: Tensor


def matched_members(members: Sequence[Tensor], known: int, rows: Tensor) -> list[Tensor]:
    """The members' logits, with new classes in the order of the first member's.

    Clusters of two members are matched one to one, so that most rows are shared (Hungarian method);
    no truth is read for it.

    Args:
        members: logits of every network for the same rows.
        known: how many classes have labels.
        rows: which rows count in matching.

    Shapes:
        members: (N, known + new) each; rows: (N,), bool.
    """
    orders = cluster_orders([z[rows] for z in members], known)
    return [in_order(z, order, known) for z, order in zip(members, orders, strict=True)]


def cluster_orders(members: Sequence[Tensor], known: int) -> list[Tensor]:
    """Of every member, which of its new classes is number 0, 1, … of the first member.

    Shapes:
        members: (N, known + new) each; result: int64 (new,) each.
    """
    first, *others = (decided([z], slice(known, None)).number for z in members)
    new = members[0].shape[1] - known
    orders = [matched(shared_rows(first, other, new, new)) for other in others]
    return [torch.arange(new), *orders]


def in_order(logits: Tensor, order: Tensor, known: int) -> Tensor:
    """The logits with new classes in an order of `cluster_orders`."""
    return torch.cat([logits[:, :known], logits[:, known + order]], 1)


def decided(members: Sequence[Tensor], columns: slice) -> Clusters:
    """The likeliest of some classes, by the mean probability over members of all of them.

    A row with NaN logits is of none.

    Shapes:
        members: (N, classes) each.
    """
    p = torch.stack([z[:, columns].softmax(1) for z in members]).mean(0)
    confidence, number = p.max(1)
    return Clusters(number.masked_fill(p.isnan().any(1), -1), confidence)
