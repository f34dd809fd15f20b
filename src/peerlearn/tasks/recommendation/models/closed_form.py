"""Recommenders that are computed, not trained: the rows that a trained one must beat.

Each holds the graph and what it computes from it, so that it is saved, loaded and taught from like
a branch. None has a parameter.

Shape suffixes: U users, I items, B users of a batch.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.memory import check_memory
from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.models.propagation import SocialGraph
from peerlearn.transfer.knowledge.rankings import SERVED
from peerlearn.transfer.outputs import PeerOutput


class ClosedForm(nn.Module):
    """Scores of items for users that follow from the graph."""

    def __init__(self, graph: SocialGraph) -> None:
        super().__init__()
        self.graph = graph

    def fit(self) -> None:
        """Compute what scores need, of a graph that is filled."""

    @abstractmethod
    def scores(self, users_B: Tensor) -> Tensor:
        """float32 (B, I)."""

    def heard_by(self, users_B: Tensor) -> Tensor:
        """What users listened to, 0 and 1, (B, I)."""
        one_BU = torch.zeros(len(users_B), self.graph.users, device=users_B.device)
        one_BU[torch.arange(len(users_B)), users_B] = 1
        return self._times_heard(one_BU)

    def _times_heard(self, x_BU: Tensor) -> Tensor:
        """x R, (B, I)."""
        _, transposed = self.graph.heard()
        product: Tensor = transposed @ x_BU.T
        return product.T

    def _times_heard_by(self, x_BI: Tensor) -> Tensor:
        """x Rᵀ, (B, U)."""
        heard, _ = self.graph.heard()
        product: Tensor = heard @ x_BI.T
        return product.T

    def forward(self, x: RankingInput) -> PeerOutput:
        """Scores (B, C) of the candidates, all of which it serves."""
        with torch.autocast(x.users.device.type, enabled=False):  # sparse products are in fp32
            found_BI = self.scores(x.users)
        found_BC = found_BI if x.candidates is None else found_BI[:, x.candidates]
        served = torch.ones(found_BC.shape[1], dtype=torch.bool, device=found_BC.device)
        return PeerOutput(found_BC, {SERVED: served})


class Popularity(ClosedForm):
    """How many users listened to an item: the same for everybody."""

    def scores(self, users_B: Tensor) -> Tensor:
        counts_I = torch.bincount(self.graph.interactions[1], minlength=self.graph.items)
        return counts_I.float().expand(len(users_B), -1)


class FriendsPopularity(ClosedForm):
    """How many of a user's friends listened to an item: S R."""

    def scores(self, users_B: Tensor) -> Tensor:
        one, other = self.graph.friends
        know_BU = torch.zeros(self.graph.users, self.graph.users, device=one.device)
        know_BU[one, other] = know_BU[other, one] = 1
        return self._times_heard(know_BU[users_B])


class ItemNeighbours(ClosedForm):
    """Items that those who heard the same heard too: Σ_j R_uj cos(i, j) over all other items j.

    Sarwar, Karypis, Konstan, Riedl, "Item-Based Collaborative Filtering Recommendation Algorithms",
    WWW 2001, with all neighbours. No matrix of items is made: R D^(−½) Rᵀ R D^(−½) is multiplied
    from the left.
    """

    def scores(self, users_B: Tensor) -> Tensor:
        counts_I = torch.bincount(self.graph.interactions[1], minlength=self.graph.items)
        scale_I = counts_I.clamp_min(1).float().rsqrt()
        heard_BI = self.heard_by(users_B)
        alike_BU = self._times_heard_by(heard_BI * scale_I)
        return self._times_heard(alike_BU) * scale_I - heard_BI


class Ease(ClosedForm):
    """Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019: X B, diag B = 0.

    B = I − P / diag(P), P = (XᵀX + λI)⁻¹. By the identity of Woodbury λP = I − Xᵀ M X with
    M = (XXᵀ + λI)⁻¹, (U, U): what is inverted and kept grows with users and not with items.
    """

    inverse_UU: Tensor
    diagonal_I: Tensor

    def __init__(self, graph: SocialGraph, regularisation: float) -> None:
        super().__init__(graph)
        if regularisation <= 0:
            raise InputError(
                f"arguments.regularisation: found {regularisation:g}; allowed: above 0"
            )
        self.regularisation = regularisation
        users = graph.users
        check_memory(3 * 8 * users * users, "model ease, a matrix of all users")
        self.register_buffer("inverse_UU", torch.zeros(users, users))
        self.register_buffer("diagonal_I", torch.ones(graph.items))

    def fit(self) -> None:
        heard, transposed = (each.double() for each in self.graph.heard())
        gram_UU = (heard @ transposed.to_dense()).clone()
        gram_UU.diagonal().add_(self.regularisation)
        inverse_UU = torch.linalg.inv(gram_UU)
        # λ diag(P) = 1 − diag(Xᵀ M X), by interactions: an item's users against each other.
        part_IU = transposed @ inverse_UU
        user_N, item_N = self.graph.interactions
        own_N = part_IU[item_N, user_N]
        taken_I = torch.zeros(self.graph.items, dtype=torch.float64).index_add_(0, item_N, own_N)
        self.inverse_UU.copy_(inverse_UU)
        self.diagonal_I.copy_(1 - taken_I)

    def scores(self, users_B: Tensor) -> Tensor:
        heard_BI = self.heard_by(users_B)
        alike_BU = self._times_heard_by(heard_BI)
        of_others_BI = heard_BI - self._times_heard(alike_BU @ self.inverse_UU)  # λ X P
        return heard_BI - of_others_BI / self.diagonal_I
