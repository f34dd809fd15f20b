"""Rényi Divergence Deep Mutual Learning (Huang et al.; ECML-PKDD 2023)."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _classification_task() -> type[Any]:
    from peerlearn.tasks.classification.task import ClassificationTask

    return ClassificationTask


RENYI = Recipe(
    name="renyi",
    title="Rényi mutual learning",
    summary="Mutual learning through the Rényi divergence of a chosen order",
    find_task=_classification_task,
)
