"""What the recipes that recommend may be told."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from peerlearn.metrics.catalogue import Metric
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec
from peerlearn.tasks.recommendation.metrics.catalogue import METRICS
from peerlearn.tasks.recommendation.objectives import Ranking


class RecommendationConfig(RecipeConfig):
    """Configuration of the systems that recommend."""

    metrics: ClassVar[Sequence[Metric]] = METRICS

    data: RecommendationDataSpec = Field(
        RecommendationDataSpec(name="synthetic"), description="which interactions, how divided"
    )
    objective: Ranking = Field(Ranking(), description="see Ranking")
    together: Literal["all", "served"] = Field(
        "all",
        description="who ranks an item in the ensemble: all peers, those without its modality by "
        "what they know beside it; or those that it is served by",
    )
    negatives: int = Field(
        1024, ge=1, le=1 << 24, description="items drawn for every batch, beside what was heard"
    )
