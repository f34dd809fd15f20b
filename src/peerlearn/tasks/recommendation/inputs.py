"""What recommenders read: users, and the items they are to score."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RankingInput:
    """Users and candidates of one batch.

    Shapes:
        users: int64 (B,).
        candidates: int64 (C,), items that every user of the batch is scored for; None for all.
    """

    users: Tensor
    candidates: Tensor | None = None

    def __len__(self) -> int:
        return len(self.users)

    def to(self, device: torch.device | str, **more: Any) -> "RankingInput":
        """The same on a device."""
        there = None if self.candidates is None else self.candidates.to(device, **more)
        return RankingInput(self.users.to(device, **more), there)
