"""Segmentation: images with a class, or several, for every pixel."""

from peerlearn.data.segmentation.arrays import masks_from_arrays
from peerlearn.data.segmentation.info import SegmentationInfo
from peerlearn.data.segmentation.loaders import segmentation_loader
from peerlearn.data.segmentation.masks import (
    IGNORED,
    MaskSplit,
    SegmentationDataset,
    as_targets,
)
from peerlearn.data.segmentation.registry import MASK_SETS, load_segmentation
from peerlearn.data.segmentation.spec import SegmentationDataSpec, SegmentAugmentSpec
from peerlearn.data.segmentation.tiles import Tiles

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
