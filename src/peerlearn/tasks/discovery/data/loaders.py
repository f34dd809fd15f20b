"""Training batches of the three stages of category discovery, and evaluation rows.

Every loader gives batches that are a pure function of (seed, epoch, step), from memory; `seed` and
(epoch, step) are the key of all randomness, and without `augment` nothing is changed at random.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from peerlearn.data.augment import Draws, Normalisation, changed
from peerlearn.data.datasets import Batch, Split
from peerlearn.data.loaders import Batches, BatchMaker, Make, Rows, evaluation_batches
from peerlearn.data.order import OrderWithin, batch_order, check_batch_size
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset

ROTATIONS = 4
"""Quarter turns that the first stage tells apart."""


def rotation_loader(
    data: DiscoveryDataset, batch_size: int, seed: int, augment: AugmentSpec | None = None
) -> Batches:
    """Every training row turned by 0, 90, 180 and 270 degrees, labels left aside.

    A batch of B images has one view of 4B rows, B of each angle; `y` counts quarter turns. An
    image is changed at random once and then turned, as in Gidaris et al. 2018.

    Raises InputError: rows that are not square images, or an option that does not fit them.
    """
    shape = data.sample_shape
    if len(shape) != 3 or shape[1] != shape[2]:
        what = f"{shape[2]}x{shape[1]} pixels" if len(shape) == 3 else f"vectors of {shape[0]}"
        raise InputError(
            f"rotations: data {data.name!r} has {what}; quarter turns need square images. "
            "data.size=PIXELS fits the images of a folder to a square."
        )
    order = batch_order(data.train.y, batch_size, seed)
    return Batches(order, partial(_turned, _maker(data, seed, augment, 1)))


def supervised_loader(
    data: DiscoveryDataset, batch_size: int, seed: int, augment: AugmentSpec | None = None
) -> Batches:
    """The labelled rows alone, in one view."""
    order = batch_order(data.train.y[data.labelled], batch_size, seed)
    return Batches(OrderWithin(order, data.labelled), _maker(data, seed, augment, 1))


def paired_loader(
    data: DiscoveryDataset,
    batch_size: int,
    seed: int,
    augment: AugmentSpec | None = None,
    labelled_per_batch: int = 0,
    copies: int = 0,
) -> Batches:
    """Labelled and unlabelled rows, each twice: B images make one view of 2B paired rows.

    The first half is one random view of the images, the second half another of the same ones in
    the same order; `y` and `index` are repeated alike.

    Args:
        labelled_per_batch: 0 mixes rows as they come; m > 0 puts m labelled rows first in each
            half, and an epoch passes once over the unlabelled ones (see `MixedOrder`).
        copies: A > 0 gives every image A fixed pairs of views, of which epoch e shows pair e mod A,
            so that what a frozen network makes of them can be kept: `versions` of a batch numbers
            2AN of them, N the rows of train. 0 draws anew in every step.

    Raises InputError: an option that does not fit the data.
    """
    if copies < 0:
        raise InputError(f"copies: {copies}; allowed: 0 (draw anew in every step) or more.")
    order = batch_order(data.train.y, batch_size, seed, labelled_per_batch=labelled_per_batch)
    make = _maker(data, seed, augment, 2)
    return Batches(order, partial(_stacked, partial(_copy, make, copies) if copies else make))


def evaluation_rows(data: DiscoveryDataset, batch_size: int) -> dict[str, Rows]:
    """The rows to measure on, in order and unchanged: "unlabelled" ones of train, and "test".

    Each set gives nothing where it has no row.

    Shapes:
        x: float32 (B, C, H, W) or (B, F), normalised by the statistics of train.
        y: int64 (B,), the true class, −1 where nobody knows it.
    """
    check_batch_size(batch_size)

    def batches(split: Callable[[], Split]) -> Iterator[tuple[Tensor, Tensor]]:
        if len(rows := split()):
            yield from evaluation_batches(rows, batch_size, data.mean, data.std)

    def unlabelled() -> Split:
        return data.train.select(data.unlabelled).with_labels(data.truth[data.unlabelled])

    return {"unlabelled": partial(batches, unlabelled), "test": partial(batches, lambda: data.test)}


def _turned(make: BatchMaker, epoch: int, step: int, index: Tensor) -> Batch:
    """A batch of images in all four rotations."""
    made = make(epoch, step, index)
    turned = torch.cat([made.x.rot90(turns, (2, 3)) for turns in range(ROTATIONS)])
    y = torch.arange(ROTATIONS, device=turned.device).repeat_interleave(len(made.index))
    return Batch((turned,), y, made.index.repeat(ROTATIONS))


def _stacked(make: Make, epoch: int, step: int, index: Tensor) -> Batch:
    """The two views of a batch one below the other."""
    made = make(epoch, step, index)
    views, below = made.views, None if made.versions is None else made.versions.view(1, -1)
    y, index = (each.repeat(len(views)) for each in (made.y, made.index))
    return Batch((torch.cat(views),), y, index, below)


def _copy(make: BatchMaker, copies: int, epoch: int, step: int, index: Tensor) -> Batch:
    """A batch of `make` with views that depend on row, copy (epoch mod `copies`) and view alone."""
    copy = epoch % copies
    index = index.to(make.split.y.device)
    rows = make.split.rows(index)
    views, versions = [], []
    for view in range(make.views):
        generator = keyed_generator(make.seed, "copy", copy, view)
        draws = Draws.of(len(make.split), generator).select(index)
        views.append(changed(rows, make.spec, draws, make.normalisation))
        versions.append((copy * make.views + view) * len(make.split) + index)
    return Batch(tuple(views), make.split.targets(index), index, torch.stack(versions))


def _maker(
    data: DiscoveryDataset, seed: int, augment: AugmentSpec | None, views: int
) -> BatchMaker:
    normalisation = Normalisation.of(data.mean, data.std)
    return BatchMaker(data.train, seed, augment or AugmentSpec(), normalisation, views)
