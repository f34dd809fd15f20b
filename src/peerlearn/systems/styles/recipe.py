"""Learning styles (Niyaz, Sambyal, Bathula 2023): one teacher, two students, mixed knowledge."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.data import Dataset, RowInfo
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.segmentation import SegmentationDataset, SegmentationInfo
from peerlearn.engine.stage import Stage
from peerlearn.engine.trainer import Trainer
from peerlearn.models import MODELS
from peerlearn.models.segmentation import SEGMENTATION_MODELS
from peerlearn.systems.assembly import one_stage
from peerlearn.systems.classification import (
    build_classification,
    build_cohort,
    load_classification_data,
)
from peerlearn.systems.recipe import Recipe
from peerlearn.systems.segmentation import (
    build_segmentation,
    build_segmentation_cohort,
    load_segmentation_data,
)
from peerlearn.systems.styles.compression import taking_part
from peerlearn.systems.styles.config import (
    StylesClassifyConfig,
    StylesConfig,
    StylesSegmentConfig,
)


def stages(config: StylesConfig, loader: BatchLoader) -> Sequence[Stage]:
    """The teacher alone where it has epochs of its own, then everybody else."""
    epochs, teacher = config.stages.teacher.epochs, config.teacher
    if not epochs or teacher not in config.peers or config.peers[teacher].frozen:
        return one_stage(config, loader)
    students = [name for name in config.peers if name != teacher]
    alone = Stage("teacher", epochs, loader, learners=[teacher])
    return (
        [alone, Stage("mutual", config.epochs, loader, learners=students)] if students else [alone]
    )


def build_classify(config: StylesClassifyConfig) -> Trainer:
    """A trainer for classification; see `build_classification`."""
    data = load_classification_data(config)
    return build_classification(_classifying(config, data), data, stages)


def restore_classify(config: StylesClassifyConfig, info: RowInfo) -> Cohort:
    """The untrained cohort of a run."""
    return build_cohort(_classifying(config, info), info)


def build_segment(config: StylesSegmentConfig) -> Trainer:
    """A trainer for segmentation; see `build_segmentation`."""
    data = load_segmentation_data(config)
    return build_segmentation(_segmenting(config, data), data, stages)


def restore_segment(config: StylesSegmentConfig, info: SegmentationInfo) -> Cohort:
    """The untrained cohort of a run."""
    return build_segmentation_cohort(_segmenting(config, info), info)


def _classifying(config: StylesClassifyConfig, data: Dataset | RowInfo) -> StylesClassifyConfig:
    def build(model: str, arguments: dict[str, Any], field: str) -> nn.Module:
        return MODELS.build(model, data.sample_shape, data.classes, arguments, field)

    return taking_part(config, build)


def _segmenting(
    config: StylesSegmentConfig, data: SegmentationDataset | SegmentationInfo
) -> StylesSegmentConfig:
    def build(model: str, arguments: dict[str, Any], field: str) -> nn.Module:
        return SEGMENTATION_MODELS.build(model, data.sample_shape, data.classes, arguments, field)

    return taking_part(config, build)


STYLES_CLASSIFY = Recipe(
    name="styles-classify",
    summary="One teacher, two students: predictions and feature maps, mixed; classification",
    config=StylesClassifyConfig,
    build=build_classify,
    restore=restore_classify,
    system="styles",
)
STYLES_SEGMENT = Recipe(
    name="styles-segment",
    summary="One teacher, two students: predictions and feature maps, mixed; segmentation",
    config=StylesSegmentConfig,
    build=build_segment,
    restore=restore_segment,
    reads="masks",
    system="styles",
)
