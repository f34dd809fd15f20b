"""Segmentation: images with a class, or several, for every pixel."""

from peerlearn.data.segmentation.arrays import masks_from_arrays
from peerlearn.data.segmentation.info import SegmentationInfo
from peerlearn.data.segmentation.loaders import segmentation_batches, segmentation_loader
from peerlearn.data.segmentation.masks import (
    IGNORED,
    MaskSplit,
    SegmentationDataset,
    as_targets,
)
from peerlearn.data.segmentation.registry import (
    describe_segmentation_datasets,
    get_segmentation_dataset,
    load_segmentation,
    segmentation_dataset_names,
)
from peerlearn.data.segmentation.spec import SegmentationDataSpec, SegmentAugmentSpec
from peerlearn.data.segmentation.tiles import Tiles, predict_tiled

__all__ = [
    "IGNORED",
    "MaskSplit",
    "SegmentAugmentSpec",
    "SegmentationDataSpec",
    "SegmentationDataset",
    "SegmentationInfo",
    "Tiles",
    "as_targets",
    "describe_segmentation_datasets",
    "get_segmentation_dataset",
    "load_segmentation",
    "masks_from_arrays",
    "predict_tiled",
    "segmentation_batches",
    "segmentation_dataset_names",
    "segmentation_loader",
]
