"""Users are recommended what their friends listen to."""

from torch import Tensor

from peerlearn.tasks.recommendation.baselines.scorer import (
    dense_scores,
    friend_matrix,
    interaction_matrix,
)
from peerlearn.tasks.recommendation.data.dataset import Interactions


class FriendsPopularity:
    """s(u, i) = (S R)_ui = Σ_{v ∈ F(u)} R_vi: how many friends of a user listen to an item.

    The neighbourhood of Ma et al., "Recommender Systems with Social Regularization", WSDM 2011, all
    friends of one weight. Of items that as many friends listen to, the more popular come first, so
    that users without friends are recommended what is popular: n_i / (1 + max n), below 1, is added
    to the count, n_i being how many users listen to an item.
    """

    def __init__(self, train: Interactions, friends_2E: Tensor, users: int, items: int) -> None:
        self.r_UI = interaction_matrix(train, users, items)
        self.s_UU = friend_matrix(friends_2E, users)
        count_I = self.r_UI.sum(axis=0)
        self.tie_I = count_I / (1 + count_I.max(initial=0))

    def scores(self, users: Tensor) -> Tensor:
        count_BI = self.s_UU[users.numpy()] @ self.r_UI
        return dense_scores(count_BI.toarray() + self.tie_I)
