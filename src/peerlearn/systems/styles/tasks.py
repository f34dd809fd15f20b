"""Tasks of one teacher and its students."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from peerlearn.cohort import Cohort
from peerlearn.engine.stage import Stage, TrainingStage
from peerlearn.systems.styles.compression import with_fitting_widths
from peerlearn.systems.styles.config import StylesClassifyConfig, StylesSegmentConfig
from peerlearn.tasks.classification.task import ClassificationTask
from peerlearn.tasks.contract import Task
from peerlearn.tasks.segmentation.task import SegmentationTask


class _Styles(Task[Any, Any, Any]):
    """Widths that follow from compression, and a teacher that may train alone first."""

    @classmethod
    def settled(cls, config: Any, info: Any) -> Any:
        return with_fitting_widths(config, partial(cls.network, info))

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        """The teacher alone where it has epochs of its own, then everybody else."""
        config = self.config
        epochs, teacher = config.stages.teacher.epochs, config.teacher
        if not epochs or teacher not in config.peers or config.peers[teacher].frozen:
            return super().stages(cohort)
        students, loader = [name for name in config.peers if name != teacher], self.loader()
        alone = TrainingStage("teacher", epochs, loader, learners=[teacher])
        together = TrainingStage("mutual", config.epochs, loader, learners=students)
        return [alone, together] if students else [alone]


class StylesClassify(_Styles, ClassificationTask):
    """Classify rows, with a teacher and students."""

    Config = StylesClassifyConfig


class StylesSegment(_Styles, SegmentationTask):
    """Segment images, with a teacher and students."""

    Config = StylesSegmentConfig
