"""One part of a training."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.engine.settings import StepSettings
from peerlearn.objectives.base import Function, Objective
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
        trunk: whether a shared trunk trains; if not it is run as it is evaluated.
        versions: how many fixed versions of rows there are, where `loader` shows such (see
            `Batch.versions`): what a trunk that does not train makes of them is kept. 0: nothing.
        parts: submodules of the learners that train; the others stay as they are, and are run as
            they are evaluated. None for all.
        steps: how weights are stepped in this stage, before what peers say of themselves.
        begin: done to the cohort before the first epoch, such as one peer starting from another's
            weights. It sees the cohort as the stage before left it, and draws no random numbers
            but keyed ones, for a resumed training may do it again.
        key: says all that the weights at the end of the stage depend on, where other runs may have
            the same; None where there are none. They share the parts and the trunk that have
            trained so far, and the records; nothing is validated, for the rest is each run's own.
    """

    name: str
    epochs: int
    loader: BatchLoader
    transfer: TransferGraph | None = None
    objectives: Mapping[str, Objective | Function] | None = None
    learners: Collection[str] | None = None
    trunk: bool = True
    versions: int = 0
    parts: Collection[str] | None = None
    steps: StepSettings | None = None
    begin: Callable[[Cohort], None] | None = None
    key: str | None = None
