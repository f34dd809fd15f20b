"""Rényi Divergence Deep Mutual Learning (Huang et al.; ECML-PKDD 2023)."""

from peerlearn.systems.classification import (
    ClassificationConfig,
    build_classification,
    build_cohort,
)
from peerlearn.systems.recipe import Recipe

RENYI = Recipe(
    name="renyi",
    summary="Mutual learning through the Rényi divergence of a chosen order",
    config=ClassificationConfig,
    build=build_classification,
    restore=build_cohort,
)
