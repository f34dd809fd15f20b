"""Training batches, equal from memory and from a stream of workers, and evaluation batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from peerlearn.data.augment import Normalisation, augment, check_augment
from peerlearn.data.datasets import Batch, Dataset, Split
from peerlearn.data.order import batch_order, check_batch_size
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator

Rows = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Batches (x, y) of the rows to evaluate on, whenever asked."""


Make = Callable[[int, int, Tensor], Batch]
"""(epoch, step, row numbers) -> batch; a pure function that can be sent to a process."""


class Order(Protocol):
    """Which rows make up which batch; see `peerlearn.data.order`."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int) -> Sequence[Tensor]: ...


@dataclass(frozen=True)
class Batches:
    """Batches made in this process when they are asked for, or by workers while the model trains.

    What a batch is made of, and which rows it holds, is given; so both ways give equal batches.
    """

    order: Order
    make: Make
    workers: int = 0  # processes that make batches; 0 for none but this one

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
            # Without a generator of its own a DataLoader draws from the global one.
            options: dict[str, Any] = {"batch_size": None, "generator": torch.Generator()}
            made = DataLoader(
                steps, sampler=numbers, num_workers=self.workers, collate_fn=_as_it_is, **options
            )
        yield from made


class _EpochSteps(TorchDataset[Batch]):
    """An epoch as a map from step to finished batch."""

    def __init__(self, make: Make, epoch: int, order: Sequence[Tensor]) -> None:
        self._make, self._epoch, self._order = make, epoch, order

    def __getitem__(self, step: int) -> Batch:
        return self._make(self._epoch, step, self._order[step])


def _as_it_is(batch: Any) -> Any:
    return batch  # which the default conversion would take apart


@dataclass(frozen=True)
class BatchMaker:
    """Turns row numbers into a batch of `views` augmented, normalised views.

    Raises InputError: changes that the rows cannot take, or no view.
    """

    split: Split
    seed: int
    spec: AugmentSpec
    normalisation: Normalisation
    views: int = 1

    def __post_init__(self) -> None:
        check_augment(self.spec, self.split.sample_shape)
        check_views(self.views)

    def __call__(self, epoch: int, step: int, index: Tensor) -> Batch:
        index = index.to(self.split.y.device)
        views, rows = [], None
        for number in range(self.views):
            key = ("augment", epoch, step, number)
            if rows is None or self.split.drawn_anew:
                rows = self.split.drawn(index, self.seed, "items", *key)
            views.append(self._view(rows, keyed_generator(self.seed, *key)))
        return Batch(tuple(views), self.split.targets(index), index)

    def _view(self, rows: Any, stream: torch.Generator) -> Any:
        if not isinstance(rows, Tensor):  # by name
            return rows
        return augment(rows, self.spec, stream, self.normalisation)


class ArrayLoader(Batches):
    """Training batches of a split: from memory, or streamed by workers while the model trains.

    Args:
        split: the training rows.
        batch_size: rows a batch; the last one of an epoch can be smaller (see `ShuffledOrder`).
        seed: with (epoch, step, view), the key of all randomness.
        augment, mean, std: random changes and normalisation by channel; None for none.
        views: independently augmented views of every batch.
        drop_last: leave a short last batch out; an epoch still has at least one batch.
        labelled_per_batch: m > 0 puts m labelled rows first, unlabelled ones after them.
        workers: for rows that do not fit in memory, processes that decode, augment and normalise
            them; 0 for none but this one.

    Raises InputError: an option that does not fit the data; see `batch_order`, `check_augment`.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        augment: AugmentSpec | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        views: int = 1,
        drop_last: bool = True,
        labelled_per_batch: int = 0,
        workers: int = 0,
    ) -> None:
        order = batch_order(split.strata, batch_size, seed, drop_last, labelled_per_batch)
        spec = augment or AugmentSpec()
        make = BatchMaker(split, seed, spec, Normalisation.of(mean, std), views)
        super().__init__(order, make, workers)


def train_loader(
    data: Dataset, batch_size: int, seed: int, augment: AugmentSpec | None = None, **options: int
) -> Batches:
    """Batches of `data.train`: from memory, or streamed where `data.in_memory` is false.

    `options` are the counts that `ArrayLoader` knows: `views`, `labelled_per_batch`, `workers`.
    """
    if data.in_memory:
        options.pop("workers", None)
    own: dict[str, Any] = dict(options)
    return ArrayLoader(data.train, batch_size, seed, augment, data.mean, data.std, **own)


def check_views(views: int) -> None:
    """Refuse batches without a view."""
    if views < 1:
        raise InputError(f"views: {views}; allowed: 1 or more.")


def evaluation_batches(
    split: Split,
    batch_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every row once, in order, as (x, y): normalised, never augmented.

    Shapes: x: float32 (B, C, H, W) or (B, F); y: as in `Batch`. The last batch can be smaller.
    """
    check_batch_size(batch_size)
    normalisation = Normalisation.of(mean, std)
    for index in torch.arange(len(split)).split(batch_size):
        yield normalisation.apply(split.rows(index)), split.targets(index)


def split_rows(split: Split, data: Dataset, batch_size: int) -> Rows:
    """`evaluation_batches` of `split` whenever asked, normalised by the statistics of train."""
    return lambda: evaluation_batches(split, batch_size, data.mean, data.std)
