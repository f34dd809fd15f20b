"""Branches together: every item is ranked by those branches that know something of it.

Shape suffixes: B users, I items, P pairs of a row and an item.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def ensemble_scores(
    scores: Mapping[str, Tensor], there: Mapping[str, Tensor], seen_2P: Tensor
) -> Tensor:
    """The mean of the branches' `standardised` scores over those that serve an item.

    s(u, i) = Σ_m δ_mi z(s_m(u, i)) / Σ_m δ_mi with δ_mi = 1 where branch m serves item i, so that
    items which few branches serve can be compared with those which all do. An item that no branch
    serves gets the mean over all branches: of such an item each of them has scored the part that
    needs no features (its id and who listens to it). Probabilities are not averaged, since they
    depend on how many items compete and on the temperature of a branch.

    A branch leaves out single items of single users by a score of −∞.

    Shapes:
        scores: by branch, float (B, I), those of all items.
        there: by branch, bool (I,), the items it serves; a branch without an entry serves all.
        seen_2P: int64 (2, P), rows and items that are not ranked.

    Returns:
        float32 (B, I); rounded, so that what is equal stays equal whatever the batch.
    """
    users, items = next(iter(scores.values())).shape
    unseen_BI = torch.ones(users, items, dtype=torch.bool)
    unseen_BI[seen_2P[0], seen_2P[1]] = False
    every_BI, served_BI = torch.zeros(2, users, items, dtype=torch.float64)
    count_BI = torch.zeros(users, items, dtype=torch.int32)
    for name, scores_BI in scores.items():
        there_I = there.get(name, torch.ones(items, dtype=torch.bool))
        z_BI = standardised(scores_BI, unseen_BI, there_I)
        available_BI = there_I & (z_BI != -math.inf)
        every_BI += z_BI
        served_BI += z_BI.masked_fill(~available_BI, 0)
        count_BI += available_BI
    mean_BI = served_BI / count_BI.clamp_min(1)
    return mean_BI.where(count_BI > 0, every_BI / len(scores)).float()


def standardised(scores_BI: Tensor, unseen_BI: Tensor, there_I: Tensor) -> Tensor:
    """z = (s − mean) / standard deviation of every user, float64 (B, I).

    Mean and deviation are over the unseen items that the branch serves, or over all unseen ones
    where it serves none of them; 0 where these have one score. Scores of −∞ are in no mean and stay
    −∞; a NaN makes its user's scores NaN.

    Shapes:
        scores_BI: float (B, I). unseen_BI: bool (B, I). there_I: bool (I,).
    """
    scores_BI = scores_BI.double()
    ranked_BI = unseen_BI & (scores_BI != -math.inf)
    counted_BI = ranked_BI & there_I
    counted_BI = counted_BI.where(counted_BI.any(1, keepdim=True), ranked_BI)
    count_B1 = counted_BI.sum(1, keepdim=True).clamp_min(1)
    # Above the least score first: equal scores have a deviation of 0 then, not of a rounding error.
    least_B1 = scores_BI.masked_fill(~counted_BI, math.inf).amin(1, keepdim=True)
    above_BI = scores_BI - least_B1.masked_fill(least_B1 == math.inf, 0)
    within_BI = above_BI.masked_fill(~counted_BI, 0)
    apart_BI = above_BI - within_BI.sum(1, keepdim=True) / count_B1
    square_BI = apart_BI.masked_fill(~counted_BI, 0).square()
    deviation_B1 = (square_BI.sum(1, keepdim=True) / count_B1).sqrt()
    z_BI = apart_BI / deviation_B1.masked_fill(deviation_B1 == 0, 1)
    flat_BI = (deviation_B1 == 0) & scores_BI.isfinite()
    return z_BI.masked_fill(flat_BI, 0)
