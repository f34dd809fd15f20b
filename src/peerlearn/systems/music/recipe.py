"""Social music recommendation (after Ziaoddini 2025): branches that teach each other rankings."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _recommendation_task() -> type[Any]:
    from peerlearn.tasks.recommendation.task import RecommendationTask

    return RecommendationTask


MUSIC = Recipe(
    name="music",
    title="Multi-modal social music recommendation",
    summary="one branch for each modality over who listens and who knows whom; no fusion",
    find_task=_recommendation_task,
)
