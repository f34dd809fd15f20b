"""Ranking statistics: two rows are taken for one class where the same features are their largest.

Han, Rebuffi, Ehrhardt, Vedaldi, Zisserman, "Automatically Discovering and Learning New Visual
Categories with Ranking Statistics", ICLR 2020.

Shape suffixes: M rows, D features, K largest of them.
"""

import torch
from torch import Tensor

from peerlearn.errors import InputError

_INT64 = 2**63


def same_top_k(features_MD: Tensor, k: int = 5) -> Tensor:
    """Which rows have the same SET of `k` largest features, whatever their order in it.

    Of equal features the first ones are taken, so that every row has exactly one such set. Rows
    are compared by copying: one table says for every set which rows have it, and each row of the
    result is a row of that table. That costs M² bytes moved, and no M² · k comparisons.

    Args:
        features_MD: a NaN counts as larger than any number.
        k: from 1 to D.

    Shapes:
        features_MD: (M, D), float; result: (M, M), bool, symmetric, True on the diagonal.

    Raises:
        InputError: not two dimensions, or fewer features than `k`.
    """
    set_M = _numbered(top_k_columns(features_MD, k), features_MD.shape[-1])
    rows = len(set_M)
    members = set_M.new_zeros((rows, rows), dtype=torch.bool)  # of set s: the rows that have it
    members[set_M, torch.arange(rows, device=set_M.device)] = True
    return members[set_M]


def top_k_columns(features_MD: Tensor, k: int) -> Tensor:
    """The columns of the `k` largest entries of every row, in increasing order.

    Of equal entries the first ones are taken, which `torch.topk` does not promise.

    Shapes:
        features_MD: (M, D), float; result: (M, k), int64.

    Raises:
        InputError: not two dimensions, or fewer features than `k`.
    """
    if features_MD.ndim != 2 or not 1 <= k <= features_MD.shape[1]:
        raise InputError(
            f"top_k: {k} of features of shape {tuple(features_MD.shape)}; expected features "
            "(rows, width) and from 1 to width of them"
        )
    x = features_MD.detach()
    values, columns = x.topk(min(k + 1, x.shape[1]), 1)
    columns = columns[:, :k].contiguous()
    # Which columns are taken is open only where the last one in equals the first one out.
    tied = values[:, k - 1] == values[:, -1] if k < x.shape[1] else x.new_zeros(len(x)).bool()
    if tied.any():
        columns[tied] = _first_of_equals(x[tied], values[tied, :k], columns[tied])
    return columns.sort(1).values


def _first_of_equals(x: Tensor, values: Tensor, columns: Tensor) -> Tensor:
    """`columns`, with those of the smallest of `values` replaced by the first that hold it."""
    width, k = x.shape[1], columns.shape[1]
    least = values[:, -1:]
    from_the_right = torch.arange(width, 0, -1, dtype=torch.int32, device=x.device)
    first = ((x == least) * from_the_right).topk(k, 1).indices
    place = torch.arange(k, device=x.device)
    larger = (values != least).sum(1, keepdim=True)  # they come before the equal ones
    return torch.where(place < larger, columns, first.gather(1, (place - larger).clamp_min(0)))


def _numbered(columns_MK: Tensor, width: int) -> Tensor:
    """A number for every distinct row of `columns_MK`, from 0; equal rows have equal numbers."""
    k = columns_MK.shape[1]
    if width**k > _INT64:
        return torch.unique(columns_MK, dim=0, return_inverse=True)[1]
    digits = torch.tensor([width**n for n in range(k)], device=columns_MK.device)
    return torch.unique((columns_MK * digits).sum(1), return_inverse=True)[1]
