"""One part of a training."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from peerlearn.cohort import Objective
from peerlearn.data.datasets import BatchLoader
from peerlearn.transfer.graph import TransferGraph


@dataclass(frozen=True)
class Stage:
    """One part of a training: what is taught, from which batches, for how long.

    Attributes:
        name: unique among the stages; also keys the randomness of its steps.
        epochs: passes over `loader`.
        loader: training batches.
        transfer: edges of this stage; None keeps the cohort's.
        objectives: what each peer learns from the data in this stage; None keeps the cohort's.
        learners: peers that train; the others only teach, as they are. None for all.
    """

    name: str
    epochs: int
    loader: BatchLoader
    transfer: TransferGraph | None = None
    objectives: Mapping[str, Objective] | None = None
    learners: Collection[str] | None = None
