"""Ranking statistics: two rows are taken for one class where the same features are their largest.

Han, Rebuffi, Ehrhardt, Vedaldi, Zisserman, "Automatically Discovering and Learning New Visual
Categories with Ranking Statistics", ICLR 2020.

Shape suffixes: M rows, D features, K largest of them.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from peerlearn.errors import InputError

_INT64 = 2**63
#: Columns of a group at most. Of every row k groups are searched, and the maxima of all.
_GROUP = 8
#: Up to so many rows every pair is compared: then calls cost more than what they compute.
_FEW = 64
#: Up to so many entries rows are simply sorted, for the same reason.
_FEW_ENTRIES = 4096


def same_top_k(features_MD: Tensor, k: int = 5) -> Tensor:
    """Which rows have the same SET of `k` largest features, whatever their order in it.

    Of equal features the first ones are taken, so that every row has exactly one such set. Rows
    are compared by copying: a table has, for every set of two rows or more, a line that says which
    rows have it, and each row of the result is a line of that table. That costs M² bytes moved,
    and no M² · k comparisons.

    Of float features (M, D), where a NaN counts as infinite, the result is bool (M, M), symmetric,
    True on the diagonal. Raises InputError as `top_k_columns` does.
    """
    columns_MK = top_k_columns(features_MD, k)
    if len(columns_MK) <= _FEW:
        return (columns_MK[:, None] == columns_MK).all(-1)
    set_M, rows_S = _numbered(columns_MK, features_MD.shape[-1])
    # Rows that share their set with no other one have line 0, which is empty.
    shared_S = rows_S > 1
    line_M = (shared_S.cumsum(0) * shared_S)[set_M]
    rows = len(set_M)
    table = set_M.new_zeros((int(shared_S.sum()) + 1, rows), dtype=torch.bool)
    table[line_M, torch.arange(rows, device=set_M.device)] = True
    table[0] = False
    return table.index_select(0, line_M).fill_diagonal_(True)


def top_k_columns(features_MD: Tensor, k: int) -> Tensor:
    """The columns of the `k` largest entries of every row, int64 (M, k), in increasing order.

    Of equal entries the first ones are taken, which `torch.topk` does not promise. Raises
    InputError: not two dimensions, or fewer features than `k`.
    """
    if features_MD.ndim != 2 or not 1 <= k <= features_MD.shape[1]:
        raise InputError(
            f"top_k: {k} of features of shape {tuple(features_MD.shape)}; expected features "
            "(rows, width) and from 1 to width of them"
        )
    rows, columns = features_MD.shape
    if rows == 0:
        return features_MD.new_zeros((0, k), dtype=torch.int64)
    if rows * columns <= _FEW_ENTRIES:
        x = features_MD.detach().nan_to_num(math.inf, math.inf, -math.inf)
        order_MD = torch.sort(x, dim=1, descending=True, stable=True).indices
        return order_MD[:, :k].sort(1).values
    # They lie in the k groups of neighbouring columns that have the largest maxima, the first of
    # equal ones: what comes before an entry of another group is, at least, the maxima of those.
    width = math.gcd(columns, _GROUP)
    groups = columns // width
    x = features_MD.detach().contiguous()
    group_MK = _first_largest_(max_pool1d(x[None], width)[0], min(k, groups))
    start_M1 = torch.arange(0, rows * groups, groups, device=x.device)[:, None]
    candidates = x.view(-1, width).index_select(0, (start_M1 + group_MK).flatten())
    within = torch.arange(width, device=x.device)
    column_MC = (group_MK[..., None] * width + within).flatten(1)
    return column_MC.gather(1, _first_largest_(candidates.view(rows, -1), k))


def _first_largest_(x: Tensor, k: int) -> Tensor:
    """The columns of the `k` largest entries, the first of equal ones, in order; overwrites `x`."""
    last = x.shape[1] - 1
    bits = last.bit_length()
    # One integer has an entry and below it the column, so that one maximum finds both.
    key = _in_order_(x).long()
    key <<= bits
    key |= torch.arange(last, -1, -1, device=x.device)
    found = []
    for _ in range(k):
        found.append(last - (key.amax(1, keepdim=True) & (2**bits - 1)))
        key.scatter_(1, found[-1], -_INT64)
    return torch.cat(found, 1).sort(1).values


def _in_order_(x: Tensor) -> Tensor:
    """Integers of 32 bits in the order of the entries, equal for equal ones; overwrites `x`."""
    x.nan_to_num_(math.inf, math.inf, -math.inf)
    if x.dtype == torch.float64:
        return torch.unique(x, return_inverse=True)[1]
    bits = x.float().add_(0).view(torch.int32)  # -0 becomes 0
    # Floats are ordered as their bits, negative ones the other way round.
    return bits.bitwise_xor_((bits >> 31).bitwise_and_(0x7FFFFFFF))


def _numbered(columns_MK: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """A number for every row, from 0, equal ones for equal rows; and how many rows have each."""
    k = columns_MK.shape[1]
    if width**k > _INT64:
        return torch.unique(columns_MK, dim=0, return_inverse=True, return_counts=True)[1:]
    digits = torch.tensor([width**n for n in range(k)], device=columns_MK.device)
    return torch.unique((columns_MK * digits).sum(1), return_inverse=True, return_counts=True)[1:]
