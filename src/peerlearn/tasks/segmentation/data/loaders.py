"""Training batches of images with masks."""

from dataclasses import dataclass

from torch import Tensor

from peerlearn.data.augment import Normalisation
from peerlearn.data.datasets import Batch
from peerlearn.data.loaders import Batches, check_views
from peerlearn.data.order import batch_order
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.segmentation.data.augment import (
    GeometricDraws,
    check_segment_augment,
    drawn_places,
    moved_images,
    moved_masks,
    recoloured,
)
from peerlearn.tasks.segmentation.data.masks import MaskSplit, SegmentationDataset, as_targets
from peerlearn.tasks.segmentation.data.spec import SegmentAugmentSpec


@dataclass(frozen=True)
class MaskBatchMaker:
    """Turns row numbers into a batch of `views` views of the same pixels.

    All views are moved alike, so that a pixel has one target; each has colours of its own.

    Raises:
        InputError: changes that the images cannot take, or no view.
    """

    split: MaskSplit
    seed: int
    spec: SegmentAugmentSpec
    normalisation: Normalisation
    views: int

    def __post_init__(self) -> None:
        check_segment_augment(self.spec, self.split.sample_shape)
        check_views(self.views)

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
) -> Batches:
    """Batches of `data.train`, made by workers where `data.in_memory` is false.

    Arguments and errors are those of `ArrayLoader`; views that no colours tell apart are one
    tensor, and an image with a labelled pixel is a labelled row.
    """
    order = batch_order(data.train.strata, batch_size, seed, labelled_per_batch=labelled_per_batch)
    normalisation = Normalisation.of(data.mean, data.std)
    make = MaskBatchMaker(data.train, seed, augment or SegmentAugmentSpec(), normalisation, views)
    return Batches(order, make, 0 if data.in_memory else workers)
