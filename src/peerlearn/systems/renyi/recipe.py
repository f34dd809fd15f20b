"""Rényi Divergence Deep Mutual Learning (Huang et al.; ECML-PKDD 2023)."""

from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.classification.task import ClassificationTask

RENYI = Recipe(
    name="renyi",
    title="Rényi mutual learning",
    summary="Mutual learning through the Rényi divergence of a chosen order",
    task=ClassificationTask,
)
