"""Delivers training batches: made in this process when they are asked for, or by workers.

What a batch is made of, and which rows it holds, is given; so both ways give equal batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from peerlearn.data.datasets import Batch
from peerlearn.errors import InputError

Make = Callable[[int, int, Tensor], Batch]
"""(epoch, step, row numbers) -> batch; a pure function that can be sent to a process."""


class Order(Protocol):
    """Which rows make up which batch; see `peerlearn.data.order`."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        """Row numbers of each batch, int64 (B,)."""


@dataclass(frozen=True)
class Batches:
    """Batches made in this process when they are asked for, or by workers while the model trains.

    Args:
        order: rows of each batch.
        make: makes a batch of them.
        workers: processes that make batches; 0 for none but this one.
    """

    order: Order
    make: Make
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"workers: {self.workers}; allowed: 0 or more.")

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        steps = _EpochSteps(self.make, epoch, self.order.epoch(epoch))
        numbers = range(start, len(self))
        made: Iterable[Batch] = (steps[number] for number in numbers)
        if self.workers:
            made = DataLoader(
                steps,
                sampler=numbers,
                batch_size=None,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                # Without one of its own a DataLoader draws from the global generator.
                generator=torch.Generator(),
            )
        yield from made


class _EpochSteps(TorchDataset[Batch]):
    """An epoch as a map from step to finished batch, the unit of work of a worker."""

    def __init__(self, make: Make, epoch: int, order: Sequence[Tensor]) -> None:
        self._make, self._epoch, self._order = make, epoch, order

    def __getitem__(self, step: int) -> Batch:
        return self._make(self._epoch, step, self._order[step])


def _as_it_is(batch: Any) -> Any:
    """Keeps a `Batch` a `Batch`, where the default conversion turns its tuples into lists."""
    return batch
