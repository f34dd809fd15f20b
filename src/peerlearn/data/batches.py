"""Delivers training batches: made in this process when they are asked for, or by workers.

What a batch is made of, and which rows it holds, is given; so both ways give equal batches.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from peerlearn.data.datasets import Batch
from peerlearn.errors import InputError

Device = torch.device | str | None
Make = Callable[[int, int, Tensor], Batch]
"""(epoch, step, row numbers) -> batch; a pure function that can be sent to a process."""


class Order(Protocol):
    """Which rows make up which batch; see `peerlearn.data.order`."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        """Row numbers of each batch."""


class Batches:
    """Batches made in this process.

    Args:
        order: rows of each batch.
        make: makes a batch of them.
        device: where the row numbers are put that `make` is given.
    """

    def __init__(self, order: Order, make: Make, device: Device = None) -> None:
        self._order, self._make, self._device = order, make, device

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        for step, index in islice(enumerate(self._order.epoch(epoch)), start, None):
            yield self._make(epoch, step, index.to(self._device))


class StreamedBatches:
    """Batches made by worker processes while the model trains.

    Args:
        order: rows of each batch.
        make: makes a batch of them.
        device: where finished batches are sent.
        workers: processes; 0 makes every batch in this one, when it is asked for.
    """

    def __init__(self, order: Order, make: Make, device: Device = None, workers: int = 0) -> None:
        if workers < 0:
            raise InputError(f"workers: {workers}; allowed: 0 or more.")
        self._order, self._make, self._device, self._workers = order, make, device, workers

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        loader: DataLoader[Batch] = DataLoader(
            _EpochSteps(self._make, epoch, self._order.epoch(epoch)),
            sampler=range(start, len(self)),
            batch_size=None,
            num_workers=self._workers,
            collate_fn=_as_it_is,
            # Without one of its own a DataLoader draws from the global generator.
            generator=torch.Generator(),
        )
        for batch in loader:
            yield batch.to(self._device)


class _EpochSteps(TorchDataset[Batch]):
    """An epoch as a map from step to finished batch, the unit of work of a worker."""

    def __init__(self, make: Make, epoch: int, order: Sequence[Tensor]) -> None:
        self._make, self._epoch, self._order = make, epoch, order

    def __getitem__(self, step: int) -> Batch:
        return self._make(self._epoch, step, self._order[step])


def _as_it_is(batch: Any) -> Any:
    """Keeps a `Batch` a `Batch`, where the default conversion turns its tuples into lists."""
    return batch
