"""What the recipes that segment images may be told."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from peerlearn.metrics.catalogue import Metric
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec, SegmentAugmentSpec
from peerlearn.tasks.segmentation.metrics import METRICS
from peerlearn.tasks.segmentation.objectives import Segmentation


class SegmentationConfig(RecipeConfig):
    """Configuration of the systems that segment images."""

    metrics: ClassVar[Sequence[Metric]] = METRICS

    data: SegmentationDataSpec = Field(
        SegmentationDataSpec(), description="which images with masks, and how many of them"
    )
    augment: SegmentAugmentSpec = Field(
        SegmentAugmentSpec(), description="random changes of images, and alike of their masks"
    )
    labelled_per_batch: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="labelled images in every batch where some have none; 0: as drawn",
    )
    objective: Segmentation = Field(Segmentation(), description="see Segmentation")
