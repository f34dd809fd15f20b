"""Training batches of images with masks, and evaluation batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from peerlearn.data.augment import Normalisation
from peerlearn.data.batches import Device, StreamedBatches
from peerlearn.data.datasets import Batch, BatchLoader
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.order import batch_order
from peerlearn.data.segmentation.augment import (
    GeometricDraws,
    check_segment_augment,
    drawn_places,
    moved_images,
    moved_masks,
    recoloured,
)
from peerlearn.data.segmentation.masks import MaskSplit, SegmentationDataset, as_targets
from peerlearn.data.segmentation.spec import SegmentAugmentSpec
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator


@dataclass(frozen=True)
class MaskBatchMaker:
    """Turns row numbers into a batch of `views` views of the same pixels.

    All views are moved alike, so that a pixel has one target; each has colours of its own.
    """

    split: MaskSplit
    seed: int
    spec: SegmentAugmentSpec
    normalisation: Normalisation
    views: int

    def __call__(self, epoch: int, step: int, index: Tensor) -> Batch:
        rows, (height, width) = self.split.rows(index), self.split.sample_shape[1:]
        generator = keyed_generator(self.seed, "augment", epoch, step, "geometry")
        draws = GeometricDraws.of(len(index), generator)
        places = drawn_places(self.spec, height, width, draws)
        moved = moved_images(rows, places, self.spec, self.normalisation)
        views = (
            recoloured(moved, self.spec, keyed_generator(self.seed, "augment", epoch, step, view))
            for view in range(self.views)
        )
        targets = as_targets(moved_masks(self.split.masks(index), places))
        return Batch(tuple(views), targets, index)


def segmentation_loader(
    data: SegmentationDataset,
    batch_size: int,
    seed: int,
    augment: SegmentAugmentSpec | None = None,
    views: int = 1,
    labelled_per_batch: int = 0,
    workers: int = 0,
    drop_last: bool = True,
    device: Device = None,
) -> BatchLoader:
    """Batches of `data.train`, a pure function of (seed, epoch, step).

    Batches are made in this process, or by workers where `data.in_memory` is false.

    Args:
        data: whose training images, mean and standard deviation are used.
        batch_size: images a batch; the last one of an epoch can be smaller (see `ShuffledOrder`).
        seed: with (epoch, step, view), the key of all randomness.
        augment: random changes; None for none.
        views: views of every batch, moved alike and each in colours of its own; equal views are
            one tensor.
        labelled_per_batch: m > 0 puts m images with a labelled pixel first, others after them.
        workers: processes that read and augment images which are streamed.
        drop_last: leave a short last batch out; an epoch still has at least one batch.
        device: where batches are sent; None leaves them where they are made.

    Raises:
        InputError: an option that does not fit the data; see `batch_order` and
            `check_segment_augment`.
    """
    spec = augment or SegmentAugmentSpec()
    check_segment_augment(spec, data.sample_shape)
    if views < 1:
        raise InputError(f"views: {views}; allowed: 1 or more.")
    order = batch_order(data.train.strata, batch_size, seed, drop_last, labelled_per_batch)
    make = MaskBatchMaker(data.train, seed, spec, Normalisation.of(data.mean, data.std), views)
    return StreamedBatches(order, make, device, 0 if data.in_memory else workers)


def segmentation_batches(
    split: MaskSplit,
    batch_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: Device = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, as (x, y): normalised, never augmented.

    Shapes:
        x: float32 (B, C, H, W).
        y: int64 (B, H, W), or float32 (B, L, H, W); see `as_targets`.
    """
    return evaluation_batches(split, batch_size, mean, std, device)
