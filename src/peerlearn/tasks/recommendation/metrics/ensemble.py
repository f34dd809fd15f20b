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
        float32 (B, I).
    """
    users, items = next(iter(scores.values())).shape
    unseen_BI = torch.ones(users, items)
    unseen_BI[seen_2P[0], seen_2P[1]] = 0
    every_BI, served_BI, count_BI = torch.zeros(3, users, items)
    for name, scores_BI in scores.items():
        there_I = there.get(name, torch.ones(items, dtype=torch.bool))
        z_BI = standardised(scores_BI, unseen_BI, there_I)
        every_BI += z_BI
        available_BI = there_I.float().expand(users, items)
        left_out_BI = z_BI == -math.inf
        if left_out_BI.any():
            available_BI = available_BI * ~left_out_BI
            z_BI.masked_fill_(left_out_BI, 0)  # −∞ · 0 would be NaN
        served_BI.addcmul_(z_BI, available_BI)
        count_BI += available_BI
    mean_BI = served_BI.div_(count_BI.clamp_min(1))
    return mean_BI.where(count_BI > 0, every_BI.div_(len(scores)))


def standardised(scores_BI: Tensor, unseen_BI: Tensor, there_I: Tensor) -> Tensor:
    """z = (s − mean) / standard deviation of every user, float32 (B, I).

    Mean and deviation are over the unseen items that the branch serves, or over all unseen ones
    where it serves none of them; 0 where these have one score. Scores of −∞ are in no mean and stay
    −∞; a NaN makes all scores of its user NaN.

    Shapes:
        scores_BI: float (B, I). unseen_BI: 0 or 1, float32 (B, I). there_I: bool (I,).
    """
    scores_BI = scores_BI.float()
    left_out_BI = scores_BI == -math.inf
    some_left_out = bool(left_out_BI.any())
    if some_left_out:
        scores_BI = scores_BI.masked_fill(left_out_BI, 0)
        unseen_BI = unseen_BI * ~left_out_BI
    counted_BI = unseen_BI * there_I
    count_B1 = counted_BI.sum(1, keepdim=True)
    if (count_B1 == 0).any():
        counted_BI = counted_BI.where(count_B1 > 0, unseen_BI)
        count_B1 = counted_BI.sum(1, keepdim=True).clamp_min(1)
    # Away from one of them first, lest rounding makes a deviation out of equal scores.
    z_BI = scores_BI - scores_BI.gather(1, counted_BI.argmax(1, keepdim=True))
    z_BI -= (z_BI * counted_BI).sum(1, keepdim=True) / count_B1
    length_B1 = torch.linalg.vector_norm(z_BI * counted_BI, dim=1, keepdim=True)
    deviation_B1 = length_B1 / count_B1.sqrt()
    z_BI /= deviation_B1.masked_fill(deviation_B1 == 0, 1)
    if (deviation_B1 == 0).any():
        z_BI.masked_fill_(deviation_B1 == 0, 0)
    return z_BI.masked_fill_(left_out_BI, -math.inf) if some_left_out else z_BI
