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

    def anew(self, graph: SocialGraph) -> "ClosedForm":
        """The same over another graph; `fit` is to be called."""
        return type(self)(graph)

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
    """How many of a user's friends listened to an item: S R; of equals the most popular first."""

    def scores(self, users_B: Tensor) -> Tensor:
        counts_I = torch.bincount(self.graph.interactions[1], minlength=self.graph.items).float()
        of_friends_BI = self._times_heard(self.graph.known_by(users_B))
        return of_friends_BI + counts_I / (counts_I.max() + 1)


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

    Args:
        graph: interactions and friendships.
        regularisation: λ.
        friends: weight w of further columns w S, who knows whom, from which items are foretold too.
    """

    inverse_UU: Tensor
    diagonal_I: Tensor

    def __init__(self, graph: SocialGraph, regularisation: float, friends: float = 0.0) -> None:
        super().__init__(graph)
        if regularisation <= 0 or friends < 0:
            raise InputError(
                f"arguments: regularisation {regularisation:g} and friends {friends:g}; allowed: "
                "above 0, and 0 or more"
            )
        self.regularisation, self.friends = regularisation, friends
        users = graph.users
        check_memory(3 * 8 * users * users, "model ease, a matrix of all users")
        self.register_buffer("inverse_UU", torch.zeros(users, users))
        self.register_buffer("diagonal_I", torch.ones(graph.items))

    def anew(self, graph: SocialGraph) -> "Ease":
        return Ease(graph, self.regularisation, self.friends)

    def fit(self) -> None:
        heard, transposed = (each.double() for each in self.graph.heard())
        gram_UU = (heard @ transposed.to_dense()).clone()
        if self.friends:
            everybody = torch.arange(self.graph.users, device=gram_UU.device)
            know_UU = self.graph.known_by(everybody).double()
            gram_UU += self.friends**2 * know_UU @ know_UU
        gram_UU.diagonal().add_(self.regularisation)
        inverse_UU = torch.linalg.inv(gram_UU)
        # λ diag(P) = 1 − diag(Xᵀ M X), by interactions: an item's users against each other.
        part_IU = transposed @ inverse_UU
        user_N, item_N = self.graph.interactions
        own_N = part_IU[item_N, user_N]
        taken_I = torch.zeros(self.graph.items, dtype=own_N.dtype, device=own_N.device)
        self.inverse_UU.copy_(inverse_UU)
        self.diagonal_I.copy_(1 - taken_I.index_add_(0, item_N, own_N))

    def scores(self, users_B: Tensor) -> Tensor:
        heard_BI = self.heard_by(users_B)
        alike_BU = self._times_heard_by(heard_BI)
        if self.friends:
            everybody = torch.arange(self.graph.users, device=users_B.device)
            know_UU = self.graph.known_by(everybody)
            alike_BU = alike_BU + self.friends**2 * know_UU[users_B] @ know_UU
        left_BI = heard_BI - self._times_heard(alike_BU @ self.inverse_UU)  # λ X P
        return heard_BI - left_BI / self.diagonal_I
