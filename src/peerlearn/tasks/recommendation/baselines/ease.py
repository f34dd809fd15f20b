"""A linear model of items by items in closed form, the strongest of the simple baselines.

Shape suffixes: U users, I items, C columns (items, and friends behind them), B users of a batch.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.memory import available_memory, in_words
from peerlearn.tasks.recommendation.baselines.scorer import (
    Matrix,
    dense_scores,
    friend_matrix,
    interaction_matrix,
)
from peerlearn.tasks.recommendation.data.dataset import Interactions

Doubles = NDArray[np.float64]
CHUNK = 1024
"""Items whose columns are looked at at a time."""
_COPIES = 3  # of the square matrix while it is inverted


class EASE:
    """Scores X B, with the B of no diagonal that gives X back best.

    min_B ‖X − X B‖² + λ‖B‖² with diag B = 0 has the solution, with P = (XᵀX + λI)⁻¹,

        B = I − P diag(P)⁻¹,  so  B_ij = −P_ij / P_jj for i ≠ j and 0 for i = j

    (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equation 8). With
    friends, X = [R | w S]: whom a user knows is regressed on beside what they listen to, as side
    information in Jeunen, Van Balen and Goethals, "Closed-Form Models for Collaborative Filtering
    with Side-Information", RecSys 2020. Scores are those of the columns of items.

    P need not be had where users are fewer than columns. With K = XXᵀ + λI, of users by users,
    P = (I − Xᵀ K⁻¹ X) / λ (Woodbury) and X P = K⁻¹ X, so

        X B = X − K⁻¹ X diag(P)⁻¹,  P_jj = (1 − x_jᵀ K⁻¹ x_j) / λ,

    which is the same up to rounding.

    Args:
        train: what is learnt from; how often somebody listened is not.
        l2: λ, larger than 0.
        friends_2E: int64 (2, E), with which friends are columns too.
        friend_weight: w of these columns.
        solve: which matrix is inverted: of "users", of "items" (columns), or the smaller of both.
        memory: bytes that may be taken; None for what the machine has.

    Raises InputError: λ is not positive, or the matrix to be inverted needs too much memory.
    """

    def __init__(
        self,
        train: Interactions,
        users: int,
        items: int,
        *,
        l2: float = 100.0,
        friends_2E: Tensor | None = None,
        friend_weight: float = 0.5,
        solve: Literal["smaller", "users", "items"] = "smaller",
        memory: int | None = None,
    ) -> None:
        if not l2 > 0:
            raise InputError(f"l2: {l2}; allowed: numbers above 0")
        self.r_UI = interaction_matrix(train, users, items)
        self.x_UC = self.r_UI
        if friends_2E is not None:
            known_UU = friend_weight * friend_matrix(friends_2E, users)
            self.x_UC = sparse.hstack([self.r_UI, known_UU], format="csr")
        columns = self.x_UC.shape[1]
        of_users = users <= columns if solve == "smaller" else solve == "users"
        _check_memory(users, columns, users if of_users else columns, memory)
        self.inverse_UU = self.p_I = self.b_CI = None
        if of_users:
            self.inverse_UU = _inverse((self.x_UC @ self.x_UC.T).toarray(), l2)
            self.p_I = (1 - _quadratic(self.r_UI, self.inverse_UU)) / l2
        else:
            p_CC = _inverse((self.x_UC.T @ self.x_UC).toarray(), l2)
            p_CC /= -p_CC.diagonal().copy()
            np.fill_diagonal(p_CC, 0)
            self.b_CI = p_CC[:, :items].astype(np.float32)

    def scores(self, users: Tensor) -> Tensor:
        if self.inverse_UU is None:
            return dense_scores(self.x_UC[users.numpy()] @ self.b_CI)
        fitted_BI = (self.r_UI.T @ self.inverse_UU[:, users.numpy()]).T / self.p_I
        return dense_scores(self.r_UI[users.numpy()].toarray() - fitted_BI)


def _inverse(gram: Doubles, l2: float) -> Doubles:
    """(gram + λI)⁻¹, of a matrix that is overwritten."""
    gram[np.diag_indices_from(gram)] += l2
    factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    solved = linalg.cho_solve(factor, np.eye(len(gram)), overwrite_b=True, check_finite=False)
    return np.asarray(solved)


def _quadratic(r_UI: Matrix, inverse_UU: Doubles) -> Doubles:
    """r_jᵀ K⁻¹ r_j of every item j, (I,)."""
    columns_UI = r_UI.tocsc()
    parts = []
    for start in range(0, r_UI.shape[1], CHUNK):
        column_CU = columns_UI[:, start : start + CHUNK].T.tocsr()
        parts.append(np.asarray(column_CU.multiply(column_CU @ inverse_UU).sum(axis=1)))
    return np.concatenate(parts)


def _check_memory(users: int, columns: int, side: int, memory: int | None) -> None:
    there = available_memory() if memory is None else memory
    needed = _COPIES * 8 * side**2
    if there is not None and needed > there:
        raise InputError(
            f"EASE: {users:,} users and {columns:,} columns: inverting a matrix of {side:,} by "
            f"{side:,} needs {in_words(needed)} of memory, and {in_words(there)} are available; "
            "keep fewer users or items: a k-core of the interactions, or the top items"
        )
