"""Users are recommended what is listened to together with what they listen to.

Shape suffixes: U users, I items, B users of a batch, C items of a chunk.
"""

import numpy as np
from scipy import sparse
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.baselines.scorer import (
    Matrix,
    dense_scores,
    interaction_matrix,
)
from peerlearn.tasks.recommendation.data.dataset import Interactions

CHUNK = 1024
"""Items whose neighbours are found at a time."""


class ItemKNN:
    """s(u, i) = Σ_j R_uj c_ij over the items j ≠ i among the k neighbours of i.

    c_ij = n_ij / √(n_i n_j) is the cosine of two columns of R: n_i users listen to i, n_ij to both.
    Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW 2001; the sum
    is not normalised, as Deshpande and Karypis (TOIS 2004) advise for lists.

    Args:
        neighbours: k, those of the largest cosine, of equal ones those with smaller numbers; None
            for all, which needs no matrix of items by items.

    Raises InputError: fewer than one neighbour.
    """

    def __init__(
        self, train: Interactions, users: int, items: int, *, neighbours: int | None = None
    ) -> None:
        if neighbours is not None and neighbours < 1:
            raise InputError(f"neighbours: {neighbours}; allowed: 1 or more, or None for all")
        self.r_UI = interaction_matrix(train, users, items)
        count_I = np.maximum(self.r_UI.sum(axis=0), 1)
        self.unit_UI = self.r_UI.multiply(1 / np.sqrt(count_I)).tocsr()
        self.cosine_II = None
        if neighbours is not None:
            self.cosine_II = _nearest(self.r_UI, count_I, neighbours)

    def scores(self, users: Tensor) -> Tensor:
        r_BI = self.r_UI[users.numpy()]
        if self.cosine_II is not None:
            return dense_scores(r_BI @ self.cosine_II.T)
        # (R V') V with V of unit columns; of j = i, whose cosine is 1, R itself is taken off.
        together_BU = r_BI @ self.unit_UI.T
        return dense_scores(together_BU @ self.unit_UI - r_BI)


def _nearest(r_UI: Matrix, count_I: np.ndarray, neighbours: int) -> Matrix:
    """Cosines (I, I) of every row's item with its neighbours."""
    columns_UI = r_UI.tocsc()
    found = []
    for start in range(0, r_UI.shape[1], CHUNK):
        both_CI = (columns_UI[:, start : start + CHUNK].T @ r_UI).tocsr()
        both_CI.sort_indices()
        item_N, other_N = both_CI.nonzero()
        cosine_N = both_CI.data / np.sqrt(count_I[item_N + start] * count_I[other_N])
        cosine_N[item_N + start == other_N] = 0
        order_N = np.lexsort((other_N, -cosine_N, item_N))
        item_N, other_N, cosine_N = item_N[order_N], other_N[order_N], cosine_N[order_N]
        first_N = np.searchsorted(item_N, item_N)  # where the item's neighbours begin
        kept_N = (np.arange(len(item_N)) - first_N < neighbours) & (cosine_N > 0)
        place = item_N[kept_N], other_N[kept_N]
        found.append(sparse.csr_array((cosine_N[kept_N], place), shape=both_CI.shape))
    return sparse.vstack(found, format="csr")
