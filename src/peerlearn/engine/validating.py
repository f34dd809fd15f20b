"""How often a training is validated where it is left to the counts of rows."""

import math
from typing import Literal

from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.task import Evaluator

FORWARD = 0.5
"""A validated row, its metrics included, in trained ones: forward without backward and update."""
SHARE = 0.05
"""Of the rows of all epochs those of validations may be, so counted."""


def epochs_between(
    every: int | Literal["auto"], stage: TrainingStage, task: Evaluator | None
) -> int:
    """Epochs of a stage from one validation to the next; the last epoch has one in any case.

    `auto` depends on the sizes of data and batches alone, never on a clock, so that a run that is
    resumed, or made again elsewhere, is validated after the same epochs. It is 1 where the task
    does not say how many rows it validates.
    """
    if every != "auto":
        return every
    sizes = None if task is None else task.batch_sizes()
    if task is None or sizes is None:
        return 1
    trained = len(stage.loader) * sizes.training
    return max(1, math.ceil(FORWARD * task.validated_rows() / (SHARE * max(trained, 1))))
