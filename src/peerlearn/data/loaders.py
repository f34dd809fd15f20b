"""Training batches from memory or from a stream of workers, and evaluation batches.

Both training loaders take their row order from one place and make a batch by one function, so
they give identical batches; they differ only in where the work is done.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.data.augment import Normalisation, augment, check_augment
from peerlearn.data.batches import Batches, Device, StreamedBatches
from peerlearn.data.datasets import Batch, BatchLoader, Dataset, Split
from peerlearn.data.order import batch_order
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator

Rows = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Batches (x, y) of the rows to evaluate on, whenever asked."""


@dataclass(frozen=True)
class BatchMaker:
    """Turns row numbers into a batch of `views` augmented, normalised views."""

    split: Split
    seed: int
    spec: AugmentSpec
    normalisation: Normalisation
    views: int

    def __call__(self, epoch: int, step: int, index: Tensor) -> Batch:
        rows = self.split.rows(index)
        return Batch(
            tuple(
                augment(
                    rows,
                    self.spec,
                    keyed_generator(self.seed, "augment", epoch, step, view),
                    self.normalisation,
                )
                for view in range(self.views)
            ),
            self.split.targets(index),
            index,
        )


class ArrayLoader(Batches):
    """Training batches from a split held in memory.

    Args:
        split: the training rows.
        batch_size: rows a batch; the last one of an epoch can be smaller (see `ShuffledOrder`).
        seed: with (epoch, step, view), the key of all randomness.
        augment: random changes; None for none.
        mean, std: normalisation by channel; None for none.
        views: independently augmented views of every batch.
        drop_last: leave a short last batch out; an epoch still has at least one batch.
        labelled_per_batch: m > 0 puts m labelled rows first, unlabelled ones after them.
        device: where rows are kept and batches made; None leaves them where they are.

    Raises:
        InputError: an option that does not fit the data; see `batch_order`, `check_augment`.
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
        device: Device = None,
    ) -> None:
        order = batch_order(split.strata, batch_size, seed, drop_last, labelled_per_batch)
        if device is not None:
            split = Split(split.x.to(device), split.y.to(device))
        make = batch_maker(split, seed, augment, mean, std, views)
        super().__init__(order, make, split.y.device)


class StreamLoader(StreamedBatches):
    """The batches of `ArrayLoader`, made by worker processes while the model trains.

    For rows that do not fit in memory: workers decode, augment and normalise. Arguments as for
    `ArrayLoader`, and

    Args:
        workers: processes; 0 makes every batch in this one, when it is asked for.
        device: where finished batches are sent.
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
        device: Device = None,
        workers: int = 0,
    ) -> None:
        order = batch_order(split.strata, batch_size, seed, drop_last, labelled_per_batch)
        make = batch_maker(split, seed, augment, mean, std, views)
        super().__init__(order, make, device, workers)


def batch_maker(
    split: Split,
    seed: int,
    augment: AugmentSpec | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    views: int,
) -> BatchMaker:
    """A `BatchMaker` whose options fit the split."""
    spec = augment or AugmentSpec()
    check_augment(spec, split.sample_shape)
    if views < 1:
        raise InputError(f"views: {views}; allowed: 1 or more.")
    return BatchMaker(split, seed, spec, Normalisation.of(mean, std), views)


def train_loader(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    augment: AugmentSpec | None = None,
    views: int = 1,
    labelled_per_batch: int = 0,
    workers: int = 0,
    drop_last: bool = True,
    device: Device = None,
) -> BatchLoader:
    """Batches of `dataset.train`: from memory, or streamed where `dataset.in_memory` is false."""
    if dataset.in_memory:
        return ArrayLoader(
            dataset.train, batch_size, seed, augment, dataset.mean, dataset.std,
            views, drop_last, labelled_per_batch, device,
        )  # fmt: skip
    return StreamLoader(
        dataset.train, batch_size, seed, augment, dataset.mean, dataset.std,
        views, drop_last, labelled_per_batch, device, workers,
    )  # fmt: skip


def evaluation_batches(
    split: Split,
    batch_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: Device = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every row once, in order, as (x, y): normalised, never augmented.

    Shapes:
        x: float32 (B, C, H, W) or (B, F); y: as in `Batch`. The last batch can be smaller.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size}; allowed: 1 or more.")
    normalisation = Normalisation.of(mean, std)
    for index in torch.arange(len(split)).split(batch_size):
        x, y = split.rows(index), split.targets(index)
        if device is not None:
            x, y = x.to(device), y.to(device)
        yield normalisation.apply(x), y


def split_rows(split: Split, data: Dataset, batch_size: int) -> Rows:
    """`evaluation_batches` of `split` whenever asked, normalised by the statistics of train."""
    return lambda: evaluation_batches(split, batch_size, data.mean, data.std)
