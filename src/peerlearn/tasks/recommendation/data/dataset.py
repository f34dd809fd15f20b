"""What a recommender learns from: who listened to what, who knows whom, and what items are like.

Users and items are numbers from 0 on; `user_ids` and `item_ids` say what they were called.

Shape suffixes: N interactions, U users, I items, E friendships, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.account import EMPTY, Account


@dataclass(frozen=True)
class Interactions:
    """Pairs of a user and an item, each once.

    Shapes:
        user, item: int64 (N,).
        count: float32 (N,), how often; 1 where nobody counted.
    """

    user: Tensor
    item: Tensor
    count: Tensor

    def __len__(self) -> int:
        return len(self.user)

    def select(self, index: Tensor) -> "Interactions":
        """Those at `index`, int64 positions or bool (N,)."""
        return Interactions(self.user[index], self.item[index], self.count[index])

    def of_users(self, users: int) -> list[Tensor]:
        """The items of every user, int64, in the order of the pairs."""
        order = torch.argsort(self.user, stable=True)
        counts = torch.bincount(self.user, minlength=users)
        return list(self.item[order].split(counts.tolist()))


@dataclass(frozen=True)
class Modality:
    """What items are like in one respect, where that is known.

    Shapes:
        x_IF: float32 (I, F), zeros where there is nothing.
        there_I: bool (I,).
    """

    x_IF: Tensor
    there_I: Tensor


@dataclass(frozen=True)
class RecommendationDataset:
    """Interactions in three parts, and everything that is known beside them.

    Attributes:
        name: of the data.
        user_ids, item_ids: what users and items are called in the data, as texts, by number.
        item_names: titles to show; the ids where there are none.
        train, val, test: interactions; a pair is in one of them.
        friends_2E: int64 (2, E), each pair once, the smaller number first, nobody with themselves.
        modalities: by name.
        emotion_I2: float32 (I, 2), valence and arousal in [−1, 1]; NaN where nobody says.
        account: what was read and what was left out.
    """

    name: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    item_names: np.ndarray
    train: Interactions
    val: Interactions
    test: Interactions
    friends_2E: Tensor
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    emotion_I2: Tensor | None = None
    account: Account = EMPTY

    @property
    def users(self) -> int:
        """How many there are."""
        return len(self.user_ids)

    @property
    def items(self) -> int:
        """How many there are."""
        return len(self.item_ids)
