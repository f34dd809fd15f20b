"""Training batches of users with candidates to rank, and the users to evaluate on.

Batches are a pure function of (seed, epoch, step).

Shape suffixes: B users, C candidates, P pairs of a user and what it listened to.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from peerlearn.data.datasets import Batch
from peerlearn.data.order import check_batch_size
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.recommendation.data.dataset import Interactions, ItemLists
from peerlearn.tasks.recommendation.inputs import RankingInput


class UserLoader:
    """Batches of users who listened to something, and candidates from all items.

    The candidates of a batch are everything that its users listened to, and `negatives` items drawn
    from all of them, each once; for a user a negative is what it did not listen to.

    Args:
        train: interactions to learn from.
        users, items: how many there are.
        batch_size: users a batch; the last one of an epoch can be smaller.
        negatives: items that are drawn for a batch.
        seed: with (epoch, step), the key of all randomness.

    Shapes of a batch:
        views: one `RankingInput`, users (B,) and candidates (C,).
        y: float32 (B, C), 1 where a user listened to a candidate.
        index: (B,), the users.

    Raises InputError: a size below 1, or nobody who listened to anything.
    """

    def __init__(
        self,
        train: Interactions,
        users: int,
        items: int,
        batch_size: int,
        negatives: int,
        seed: int,
    ) -> None:
        check_batch_size(batch_size)
        if negatives < 1:
            raise InputError(f"negatives: {negatives}; allowed: 1 or more")
        self.heard = ItemLists.of(users, train)
        self.able = (self.heard.counts > 0).nonzero()[:, 0]
        if not len(self.able):
            raise InputError("data: no user has an interaction to learn from")
        self.items, self.batch_size = items, batch_size
        self.negatives, self.seed = min(negatives, items), seed

    def __len__(self) -> int:
        return -(-len(self.able) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        generator = keyed_generator(self.seed, "users", epoch)
        order = self.able[torch.randperm(len(self.able), generator=generator)]
        parts = enumerate(order.split(self.batch_size))
        return (self._batch(epoch, step, users) for step, users in islice(parts, start, None))

    def _batch(self, epoch: int, step: int, users_B: Tensor) -> Batch:
        generator = keyed_generator(self.seed, "candidates", epoch, step)
        drawn = torch.randint(self.items, (self.negatives,), generator=generator)
        row_P, heard_P = self.heard.pairs(users_B)
        candidates_C = torch.cat([heard_P, drawn]).unique()
        y_BC = torch.zeros(len(users_B), len(candidates_C))
        y_BC[row_P, torch.searchsorted(candidates_C, heard_P)] = 1
        return Batch((RankingInput(users_B, candidates_C),), y_BC, users_B)
