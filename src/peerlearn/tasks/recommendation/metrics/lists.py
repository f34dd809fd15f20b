"""What is recommended, whoever wants it: how much of the catalogue, how popular, how diverse.

Shape suffixes: B users of a batch, U users, I items, K places of a list, F features.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.dataset import Interactions
from peerlearn.tasks.recommendation.metrics.ranking import NO_ITEM

Vectors: TypeAlias = Any
"""Of items, of length 1 or 0: float64 (I, F), a numpy array or scipy's `csr_array`."""


@dataclass(frozen=True)
class ItemFacts:
    """What is known of items when lists of them are looked at.

    Attributes:
        popularity_I: float64 (I,), log(1 + how many users listen to it in training).
        usual: mean of that over the interactions of training.
        vectors: what makes two items alike; see `unit_vectors` and `co_listening`.
    """

    popularity_I: Tensor
    usual: float
    vectors: Vectors

    @classmethod
    def of(
        cls, train: Interactions, users: int, items: int, x_IF: Tensor | None = None
    ) -> "ItemFacts":
        """Of the interactions of training.

        Items are alike by their features `x_IF`, float (I, F), zeros where there are none; without
        features, by who listens to them.
        """
        popularity_I = train.item.bincount(minlength=items).double().log1p()
        usual = popularity_I[train.item].mean().item()
        vectors = co_listening(train, users, items) if x_IF is None else unit_vectors(x_IF)
        if vectors.shape[0] != items:
            raise InputError(f"metrics: vectors of {vectors.shape[0]} items; expected {items}")
        return cls(popularity_I, usual, vectors)

    def metrics(self, top_BK: Tensor, k: int) -> dict[str, Tensor]:
        """Of the first k places of every list, float64 (B,); NaN where a list is too short.

        - `popularity@K`: mean of log(1 + listeners) of the recommended items, minus the same mean
          over what users listen to in training. 0: as popular as what is listened to anyway; log 2
          = 0.69: twice as popular, in the geometric mean.
        - `diversity@K`: 1 − the mean cosine of two different items of the list, of those that have
          a vector (Ziegler et al., "Improving Recommendation Lists Through Topic Diversification",
          WWW 2005: intra-list similarity).
        """
        top_Bk = top_BK[:, :k]
        there_Bk = top_Bk != NO_ITEM
        popularity_Bk = self.popularity_I[top_Bk.clamp_min(0)] * there_Bk
        mean_B = popularity_Bk.sum(1) / there_Bk.sum(1)  # 0 / 0 is NaN
        return {
            f"popularity@{k}": mean_B - self.usual,
            f"diversity@{k}": diversity(top_Bk, self.vectors),
        }


def recommended(top_BK: Tensor, items: int) -> Tensor:
    """Which items are in a list of somebody, bool (I,); their share is the coverage."""
    there_I = torch.zeros(items, dtype=torch.bool)
    there_I[top_BK[top_BK != NO_ITEM]] = True
    return there_I


def diversity(top_BK: Tensor, vectors: Vectors) -> Tensor:
    """1 − the mean cosine of two different items of each list, float64 (B,).

    Items whose vector is 0 are left out; NaN where fewer than two others are in the list.
    """
    has_I = torch.from_numpy(_squared_lengths(vectors) > 0)
    row_N, place_N = ((top_BK != NO_ITEM) & has_I[top_BK.clamp_min(0)]).nonzero().unbind(1)
    listed = sparse.csr_array(
        (np.ones(len(row_N)), (row_N.numpy(), top_BK[row_N, place_N].numpy())),
        shape=(len(top_BK), vectors.shape[0]),
    )
    # |Σ v|² is the sum of cosines over all pairs, those of an item with itself among them.
    sum_B = torch.from_numpy(_squared_lengths(listed @ vectors))
    count_B = row_N.bincount(minlength=len(top_BK)).double()
    return 1 - (sum_B - count_B) / (count_B * (count_B - 1)).where(count_B > 1, torch.nan)


def unit_vectors(x_IF: Tensor) -> Vectors:
    """Features of items, float (I, F), divided by their length; zeros stay zeros."""
    x = x_IF.detach().cpu().double().numpy()
    length_I1 = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length_I1 > 0, length_I1, 1)


def co_listening(train: Interactions, users: int, items: int) -> Vectors:
    """Who listens to an item, as a vector (I, U) of length 1, zeros for nobody.

    The cosine of two items is then common listeners / √(listeners · listeners of the other).
    """
    count_I = train.item.bincount(minlength=items).clamp_min(1).double()
    value_N = count_I.rsqrt()[train.item].numpy()
    place = train.item.numpy(), train.user.numpy()
    return sparse.csr_array((value_N, place), shape=(items, users))


def _squared_lengths(rows: Vectors) -> np.ndarray:
    squares = rows.power(2) if sparse.issparse(rows) else rows**2
    return np.asarray(squares.sum(axis=1)).reshape(-1)
