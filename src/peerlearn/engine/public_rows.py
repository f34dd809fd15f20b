"""Rows that all processes have, on which peers meet whose own rows and weights stay where they are.

Nobody reads a label of them, and every peer normalises them as its own rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from peerlearn.data.datasets import Split
from peerlearn.data.fingerprint import digest, digest_of_text
from peerlearn.data.loaders import ArrayLoader, evaluation_batches
from peerlearn.engine.evaluate import Rows
from peerlearn.randomness import derive_seed

HASHED_AT_ONCE = 256


@dataclass(frozen=True)
class PublicRows:
    """Public rows, as the networks of this process read them."""

    split: Split  # without labels
    mean: Sequence[float]  # by channel, of the process's own rows
    std: Sequence[float]
    classes: int  # of which peers speak

    def __len__(self) -> int:
        return len(self.split)

    @cached_property
    def digest(self) -> str:
        """A short text that is the same where the rows and their order are."""
        parts = torch.arange(len(self)).split(HASHED_AT_ONCE)
        return digest_of_text([digest(self.split.rows(part)) for part in parts])

    def loader(self, batch_size: int, seed: int) -> ArrayLoader:
        """Batches to learn from, each a function of the seed, its epoch and its step."""
        own = derive_seed(seed, "public rows")
        return ArrayLoader(self.split, batch_size, own, mean=self.mean, std=self.std)

    def in_order(self, batch_size: int) -> Rows:
        """All of them in batches, whenever asked."""
        return partial(evaluation_batches, self.split, batch_size, self.mean, self.std)
