"""Everybody is recommended what most listen to."""

import torch
from torch import Tensor

from peerlearn.tasks.recommendation.data.dataset import Interactions


class Popularity:
    """s(u, i) = Σ_v R_vi: how many users listen to an item, whoever asks.

    Cremonesi, Koren and Turrin, "Performance of Recommender Algorithms on Top-N Recommendation
    Tasks", RecSys 2010 (TopPop).
    """

    def __init__(self, train: Interactions, items: int) -> None:
        self.count_I = train.item.bincount(minlength=items).float()

    def scores(self, users: Tensor) -> Tensor:
        return torch.tile(self.count_I, (len(users), 1))
