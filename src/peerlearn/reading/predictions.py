"""Rows to predict, and what networks say of them.

Shape suffixes: N rows, C classes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.engine.evaluate import Rows

Join = Callable[[Iterable[Tensor]], Tensor]


def one_after_another(parts: Iterable[Tensor]) -> Tensor:
    """Predictions of all batches, where rows are what the batches hold."""
    return torch.cat(list(parts))


@dataclass(frozen=True)
class Inputs:
    """Rows to predict, and where each of them is from.

    Attributes:
        sources: the file of every row.
        numbers: its number in that file.
        batches: gives what the networks read, in the same order, each with some targets.
        join: makes predictions of the rows of those of the batches, which it reads one by one.
    """

    sources: tuple[str, ...]
    numbers: tuple[int, ...]
    batches: Rows
    join: Join = one_after_another

    @property
    def steps(self) -> int:
        """How much the networks read, for progress."""
        return len(self.sources)


@dataclass(frozen=True)
class Prediction:
    """Probabilities of the classes for some rows.

    Attributes:
        rows: where they are from.

    Shapes:
        probabilities: (N, C), or (N, C, H, W) for every pixel of an image, float; they sum to 1
            over the classes unless several labels can hold at once.
    """

    rows: Inputs
    probabilities: Tensor
