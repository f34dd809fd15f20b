"""How well wanted items are found among all items that a user has not seen (full ranking).

Sampled candidates would change which of two recommenders is better (Krichene and Rendle, "On
Sampled Metrics for Item Recommendation", KDD 2020), so all are ranked.

Shape suffixes: B users, I items, K places of a list, P pairs of a row and an item.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.metrics.wanted import Wanted, pair_keys

CUTOFFS = (5, 10, 20, 50)
"""Lengths of lists that are measured."""
NO_ITEM = -1
"""Where a list ends early: the user has seen the other items, or they are left out."""
ROWS = 256
"""Users whose scores of all items are copied at a time."""


def ranking_metrics(
    scores_BI: Tensor, wanted: Wanted, cutoffs: Sequence[int] = CUTOFFS, rows: int = ROWS
) -> dict[str, Tensor]:
    """What `list_metrics` says of the best items of every user; the mean is `mean_over_users`.

    Users are taken `rows` at a time, which changes nothing.

    Shapes:
        scores_BI: float (B, I), those of all items.
    """
    top_BK = top_items(scores_BI, wanted.seen_2P, max(cutoffs), rows)
    return list_metrics(hits(top_BK, wanted.wanted_2P), wanted.counts, cutoffs)


def top_items(scores_BI: Tensor, seen_2P: Tensor, k: int, rows: int = ROWS) -> Tensor:
    """The k best items of every user, int64 (B, K), best first, without those that were seen.

    Of equal scores the item with the smaller number is better, so that a list depends on nothing
    but its own row. A score of −∞ or NaN is of an item that is never recommended; lists that end
    early are filled with `NO_ITEM`.

    Shapes:
        scores_BI: float (B, I). seen_2P: int64 (2, P), rows and items.

    Raises InputError: shapes do not fit.
    """
    if scores_BI.ndim != 2 or seen_2P.ndim != 2 or len(seen_2P) != 2:
        raise InputError(
            f"metrics: scores {tuple(scores_BI.shape)} and items seen {tuple(seen_2P.shape)}; "
            "expected (users, items) and (2, pairs)"
        )
    users, items = scores_BI.shape
    top_BK = torch.full((users, k), NO_ITEM)
    for start in range(0, users, rows):
        part_BI = scores_BI[start : start + rows].detach().cpu()
        odd = part_BI.sum().isnan()  # as it is where there is a NaN, and hardly ever else
        part_BI = part_BI.masked_fill(part_BI.isnan(), -math.inf) if odd else part_BI.clone()
        here_P = (seen_2P[0] >= start) & (seen_2P[0] < start + rows)
        part_BI[seen_2P[0][here_P] - start, seen_2P[1][here_P]] = -math.inf
        top_BK[start : start + rows, : min(k, items)] = _best(part_BI, min(k, items))
    return top_BK


def hits(top_BK: Tensor, wanted_2P: Tensor) -> Tensor:
    """Which places of lists hold an item that their user wants, bool (B, K)."""
    width = 1 + max(int(each.max()) if each.numel() else 0 for each in (top_BK, wanted_2P[1]))
    rows_B1 = torch.arange(len(top_BK)).unsqueeze(1)
    found_BK = torch.isin(rows_B1 * width + top_BK, pair_keys(wanted_2P, width))
    return found_BK & (top_BK != NO_ITEM)


def list_metrics(
    hit_BK: Tensor, wanted_B: Tensor, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, Tensor]:
    """Metrics of every user's list, float64 (B,) by name; NaN of users who want nothing.

    With h_p = 1 where place p = 1 … K holds a wanted item, and W wanted items:

    - `recall@K`: Σ h / W.
    - `ndcg@K`: Σ h_p / log2(p + 1), over the same sum of a list that begins with min(K, W) wanted
      items (Järvelin and Kekäläinen 2002, binary gains).
    - `precision@K`: Σ h / K, even where fewer than K items could be recommended.
    - `hit@K`: 1 if any h. `mrr@K`: 1 / p of the first h, 0 without one.

    Shapes:
        hit_BK: bool (B, K), at least as many places as the largest of `cutoffs`.
        wanted_B: int64 (B,), how many items users want.
    """
    hit_BK = hit_BK.double()
    place_K = torch.arange(1, hit_BK.shape[1] + 1, dtype=torch.float64)
    gain_K = 1 / (place_K + 1).log2()
    ideal_K = gain_K.cumsum(0)
    measured_B = wanted_B > 0
    most_B = wanted_B.clamp_min(1)
    found: dict[str, Tensor] = {}
    for k in cutoffs:
        hit_Bk = hit_BK[:, :k]
        count_B = hit_Bk.sum(1)
        found |= {
            f"recall@{k}": count_B / most_B,
            f"ndcg@{k}": (hit_Bk * gain_K[:k]).sum(1) / ideal_K[most_B.clamp_max(k) - 1],
            f"precision@{k}": count_B / k,
            f"hit@{k}": (count_B > 0).double(),
            f"mrr@{k}": (hit_Bk / place_K[:k]).amax(1),
        }
    return {name: value_B.where(measured_B, torch.nan) for name, value_B in found.items()}


def mean_over_users(values_B: Tensor) -> float:
    """The mean of those that are measured; NaN where nobody is."""
    return values_B[~values_B.isnan()].double().mean().item()


def _best(scores_BI: Tensor, k: int) -> Tensor:
    """The k items (B, K) with the largest scores, none of them NaN, smaller numbers first."""
    items = scores_BI.shape[1]
    value_BK, item_BK = scores_BI.topk(min(k + 1, items), dim=1)
    # What topk takes of equal scores is not said. Within a list, sorting decides; where equal
    # scores reach beyond its end, the whole row is sorted.
    item_BK = item_BK[:, :k].sort(1).values
    order_BK = scores_BI.gather(1, item_BK).sort(dim=1, descending=True, stable=True).indices
    item_BK = item_BK.gather(1, order_BK)
    if k < items:
        cut_B = value_BK[:, k - 1] == value_BK[:, k]
        cut_B &= value_BK[:, k] > -math.inf
        if cut_B.any():
            whole = scores_BI[cut_B].sort(dim=1, descending=True, stable=True).indices
            item_BK[cut_B] = whole[:, :k]
    return item_BK.where(scores_BI.gather(1, item_BK) > -math.inf, NO_ITEM)
