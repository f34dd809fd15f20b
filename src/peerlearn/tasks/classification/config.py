"""What the recipes that classify rows may be told."""

from typing import ClassVar

from pydantic import Field

from peerlearn.data.spec import AugmentChoice, DataSpec
from peerlearn.objectives.base import Classification
from peerlearn.tasks.config import RecipeConfig


class ClassificationConfig(RecipeConfig):
    """Configuration of the systems that classify."""

    reads_other_rows: ClassVar[bool] = True

    data: DataSpec = Field(DataSpec(), description="which data, and how much of it")
    augment: AugmentChoice = Field(AugmentChoice(), description="random changes of images")
    labelled_per_batch: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="labelled rows in every batch where some rows have none; 0: as drawn",
    )
    objective: Classification = Field(Classification(), description="see Classification")
