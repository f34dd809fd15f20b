"""Training batches, equal from memory and from a stream of workers, and evaluation batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.data.augment import Normalisation, augment, check_augment
from peerlearn.data.batches import Batches
from peerlearn.data.datasets import Batch, Dataset, Split
from peerlearn.data.order import batch_order, check_batch_size
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator

Rows = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Batches (x, y) of the rows to evaluate on, whenever asked."""


@dataclass(frozen=True)
class BatchMaker:
    """Turns row numbers into a batch of `views` augmented, normalised views.

    Raises:
        InputError: changes that the rows cannot take, or no view.
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
        rows, seed = self.split.rows(index), self.seed
        generators = [
            keyed_generator(seed, "augment", epoch, step, view) for view in range(self.views)
        ]
        views = [augment(rows, self.spec, each, self.normalisation) for each in generators]
        return Batch(tuple(views), self.split.targets(index), index)


class ArrayLoader(Batches):
    """Training batches of a split: from memory, or streamed by workers while the model trains.

    Args:
        split: the training rows.
        batch_size: rows a batch; the last one of an epoch can be smaller (see `ShuffledOrder`).
        seed: with (epoch, step, view), the key of all randomness.
        augment: random changes; None for none.
        mean, std: normalisation by channel; None for none.
        views: independently augmented views of every batch.
        drop_last: leave a short last batch out; an epoch still has at least one batch.
        labelled_per_batch: m > 0 puts m labelled rows first, unlabelled ones after them.
        workers: for rows that do not fit in memory, processes that decode, augment and normalise
            them; 0 for none but this one.

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
        workers: int = 0,
    ) -> None:
        order = batch_order(split.strata, batch_size, seed, drop_last, labelled_per_batch)
        spec = augment or AugmentSpec()
        make = BatchMaker(split, seed, spec, Normalisation.of(mean, std), views)
        super().__init__(order, make, workers)


def train_loader(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    augment: AugmentSpec | None = None,
    views: int = 1,
    labelled_per_batch: int = 0,
    workers: int = 0,
) -> Batches:
    """Batches of `dataset.train`: from memory, or streamed where `dataset.in_memory` is false."""
    return ArrayLoader(
        dataset.train, batch_size, seed, augment, dataset.mean, dataset.std, views,
        labelled_per_batch=labelled_per_batch, workers=0 if dataset.in_memory else workers,
    )  # fmt: skip


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

    Shapes:
        x: float32 (B, C, H, W) or (B, F); y: as in `Batch`. The last batch can be smaller.
    """
    check_batch_size(batch_size)
    normalisation = Normalisation.of(mean, std)
    for index in torch.arange(len(split)).split(batch_size):
        yield normalisation.apply(split.rows(index)), split.targets(index)


def split_rows(split: Split, data: Dataset, batch_size: int) -> Rows:
    """`evaluation_batches` of `split` whenever asked, normalised by the statistics of train."""
    return lambda: evaluation_batches(split, batch_size, data.mean, data.std)
