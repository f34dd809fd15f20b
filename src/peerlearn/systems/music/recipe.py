"""Social music recommendation (after Ziaoddini 2025): branches that teach each other rankings."""

from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.recommendation.task import RecommendationTask

MUSIC = Recipe(
    name="music",
    title="Multi-modal social music recommendation",
    summary="one branch for each modality over who listens and who knows whom; no fusion",
    task=RecommendationTask,
)
