"""Deep Mutual Learning (Zhang, Xiang, Hospedales, Lu; CVPR 2018)."""

from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.classification.task import ClassificationTask

DML = Recipe(
    name="dml",
    title="Deep mutual learning",
    summary="Deep mutual learning: every peer learns from every other peer's predictions",
    task=ClassificationTask,
)
