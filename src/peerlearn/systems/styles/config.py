"""What the recipes of learning styles may be told."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from peerlearn.engine.settings import MOST_EPOCHS
from peerlearn.tasks.classification.config import ClassificationConfig
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.segmentation.config import SegmentationConfig
from peerlearn.validation import Spec


class CompressionSpec(Spec):
    """The `compression` block: how small students are beside their teacher. A number is short."""

    ratio: float = Field(
        0.15, gt=0, lt=1, description="part of the teacher's parameters that is saved"
    )
    of: Literal["together", "each"] = Field(
        "together",
        description="together: all students have 1 − ratio of the teacher's parameters, in equal "
        "shares; each: every student has that many",
    )

    @model_validator(mode="before")
    @classmethod
    def _ratio_alone(cls, given: Any) -> Any:
        return {"ratio": given} if isinstance(given, int | float) else given


class StageSpec(Spec):
    """One stage."""

    epochs: int = Field(0, ge=0, le=MOST_EPOCHS, description="passes over the training rows")


class StagesSpec(Spec):
    """The `stages` block: what happens before the cohort trains together."""

    teacher: StageSpec = Field(
        StageSpec(),
        description="the teacher trains alone for so many epochs, and is frozen then; 0: it "
        "trains beside its students (online distillation)",
    )


class StylesConfig(RecipeConfig):
    """What the recipes of learning styles have in common."""

    teacher: str = Field("teacher", description="the peer that is no student")
    compression: CompressionSpec | None = Field(
        None, description="sets `width` of students that have none of their own"
    )
    stages: StagesSpec = Field(StagesSpec(), description="see StagesSpec")
    without: list[str] = Field(
        [], description="peers that take no part; a teacher among them still sets the widths"
    )

    @model_validator(mode="after")
    def _peers_are_known(self) -> Self:
        for name in self.without:
            if name not in self.peers:
                raise ValueError(f"without: {name!r} is no peer; allowed: {', '.join(self.peers)}")
        if len(self.without) == len(self.peers):
            raise ValueError("without: names every peer; at least one must take part")
        needed = self.compression is not None or self.stages.teacher.epochs > 0
        if needed and self.teacher not in self.peers:
            raise ValueError(
                f"teacher: {self.teacher!r} is no peer; allowed: {', '.join(self.peers)}"
            )
        return self


class StylesClassifyConfig(StylesConfig, ClassificationConfig):
    """Configuration of `styles-classify`."""


class StylesSegmentConfig(StylesConfig, SegmentationConfig):
    """Configuration of `styles-segment`."""
