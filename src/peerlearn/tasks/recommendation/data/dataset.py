"""What a recommender learns from: who listened to what, who knows whom, and what items are like.

Users and items are numbers from 0 on; `user_ids` and `item_ids` say what they were called.

Shape suffixes: N interactions, U users, V = U + 1, B users of a batch, P pairs of a row and an
item, I items, E friendships, F features.
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


@dataclass(frozen=True)
class ItemLists:
    """The items of every user, each once, in ascending order.

    Shapes:
        first_V: int64 (U + 1,), where the items of a user begin and those of the next do.
        item_N: int64 (N,).
    """

    first_V: Tensor
    item_N: Tensor

    @classmethod
    def of(cls, users: int, *several: Interactions) -> "ItemLists":
        """Those of one part of the data, or of several parts together."""
        user_N = torch.cat([part.user for part in several])
        item_N = torch.cat([part.item for part in several])
        width = width_of(item_N)
        keys_N = (user_N * width + item_N).unique()  # sorted: by user, then by item
        counts_U = (keys_N // width).bincount(minlength=users)
        first_V = torch.cat([torch.zeros(1, dtype=torch.int64), counts_U.cumsum(0)])
        return cls(first_V, keys_N % width)

    @property
    def counts(self) -> Tensor:
        """How many items users have, int64 (U,)."""
        return self.first_V.diff()

    def pairs(self, users_B: Tensor) -> Tensor:
        """The items of some users, int64 (2, P): the place of the user among them, and the item."""
        counts_B = self.counts[users_B]
        row_P = torch.arange(len(users_B)).repeat_interleave(counts_B)
        before_B = counts_B.cumsum(0) - counts_B
        place_P = torch.arange(len(row_P)) + (self.first_V[users_B] - before_B)[row_P]
        return torch.stack([row_P, self.item_N[place_P]])


def width_of(items_P: Tensor) -> int:
    """A number above those of all items."""
    return int(items_P.max()) + 1 if len(items_P) else 1


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
