"""Deep Mutual Learning (Zhang, Xiang, Hospedales, Lu; CVPR 2018)."""

from peerlearn.systems.classification import (
    ClassificationConfig,
    build_classification,
    build_cohort,
)
from peerlearn.systems.recipe import Recipe

DML = Recipe(
    name="dml",
    summary="Deep mutual learning: every peer learns from every other peer's predictions",
    config=ClassificationConfig,
    build=build_classification,
    restore=build_cohort,
)
