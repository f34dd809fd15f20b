"""What baselines have in common: they score all items for users, by sparse matrices.

Shape suffixes: B users of a batch, U users, I items.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from peerlearn.tasks.recommendation.data.dataset import Interactions
from peerlearn.tasks.recommendation.metrics.assessment import RankingAssessment
from peerlearn.tasks.recommendation.metrics.ranking import ROWS
from peerlearn.tasks.recommendation.metrics.wanted import ItemLists, Wanted

Matrix: TypeAlias = Any
"""Of scipy, sparse, float64; it has no types of its own."""


class Scorer(Protocol):
    """A recommender that is made from interactions at once."""

    def scores(self, users: Tensor) -> Tensor:
        """Of all items, float32 (B, I), for users int64 (B,); items seen in training too."""


def interaction_matrix(interactions: Interactions, users: int, items: int) -> Matrix:
    """R, (U, I): 1 where a user listened to an item, however often."""
    return _ones(interactions.user, interactions.item, (users, items))


def friend_matrix(friends_2E: Tensor, users: int) -> Matrix:
    """S, (U, U), symmetric: 1 where two users are friends."""
    one, other = friends_2E
    return _ones(torch.cat([one, other]), torch.cat([other, one]), (users, users))


def dense_scores(found: Any) -> Tensor:
    """A result of numpy or scipy, (B, I), as scores."""
    dense = found.toarray() if sparse.issparse(found) else found
    return torch.from_numpy(np.ascontiguousarray(dense, np.float32))


def assess_scorers(
    scorers: Mapping[str, Scorer],
    assessment: RankingAssessment,
    wanted: ItemLists,
    seen: ItemLists,
    rows: int = ROWS,
) -> RankingAssessment:
    """Add the scores of every user who wants something to an assessment, `rows` users at a time.

    Scorers are the peers; their ensemble is the mean of their standardised scores.
    """
    for users_B in wanted.counts.nonzero().squeeze(1).split(rows):
        scores = {name: scorer.scores(users_B) for name, scorer in scorers.items()}
        assessment.add(scores, Wanted.of(users_B, wanted, seen))
    return assessment


def _ones(row: Tensor, column: Tensor, shape: tuple[int, int]) -> Matrix:
    place = row.numpy(), column.numpy()
    found = sparse.csr_array((np.ones(len(row)), place), shape=shape)
    found.sum_duplicates()
    found.data[:] = 1
    return found
