"""Segmentation: images with a class, or several, for every pixel."""

from peerlearn.tasks.segmentation.data.arrays import masks_from_arrays
from peerlearn.tasks.segmentation.data.info import SegmentationInfo
from peerlearn.tasks.segmentation.data.loaders import segmentation_loader
from peerlearn.tasks.segmentation.data.masks import (
    IGNORED,
    MaskSplit,
    SegmentationDataset,
    as_targets,
)
from peerlearn.tasks.segmentation.data.registry import MASK_SETS, load_segmentation
from peerlearn.tasks.segmentation.data.spec import SegmentationDataSpec, SegmentAugmentSpec
from peerlearn.tasks.segmentation.data.tiles import Tiles

__all__ = [
    "IGNORED",
    "MASK_SETS",
    "MaskSplit",
    "SegmentAugmentSpec",
    "SegmentationDataSpec",
    "SegmentationDataset",
    "SegmentationInfo",
    "Tiles",
    "as_targets",
    "load_segmentation",
    "masks_from_arrays",
    "segmentation_loader",
]
