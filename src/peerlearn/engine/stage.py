"""What a training is divided into: stages of gradient steps, and procedures between them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.engine.precision import Precision
from peerlearn.engine.settings import PeerSettings, StepSettings
from peerlearn.objectives.base import Function, Objective
from peerlearn.transfer.graph import TransferGraph


@dataclass(frozen=True)
class TrainingStage:
    """A part of a training with its own epochs, edges and optimisers, which start anew.

    Attributes:
        name: of the stage, in logs and messages.
        epochs: passes over `loader`.
        loader: training batches.
        transfer: edges of this stage; None for the cohort's own.
        objectives: what each peer learns from the data in this stage; None for the cohort's own.
        learners: peers that train; the others only teach, as they are. None for all.
        trunk: whether a shared trunk trains; if not it is run as it is evaluated.
        versions: how many fixed versions of rows there are, where `loader` shows such (see
            `Batch.versions`): what a trunk that does not train makes of them is kept. 0: nothing.
        trainable: submodules of the learners that train; the others stay as they are, and are run
            as they are evaluated. None for all.
        steps: how weights are stepped in this stage, before what peers say of themselves.
        shared: whether runs that are alike as far as the stage is concerned may take each other's:
            the submodules and the trunk that have trained so far, and the records. Then nothing is
            validated in it, for the rest is each run's own, and objectives must read nothing else.
        around: gives a context of the cohort in which the stage runs, its validations included,
            such as one in which Bayesian peers are deterministic; None for nothing.
    """

    name: str
    epochs: int
    loader: BatchLoader
    transfer: TransferGraph | None = None
    objectives: Mapping[str, Objective | Function] | None = None
    learners: Collection[str] | None = None
    trunk: bool = True
    versions: int = 0
    trainable: Collection[str] | None = None
    steps: StepSettings | None = None
    shared: bool = False
    around: Callable[[Cohort], AbstractContextManager[object]] | None = None

    def where(self, epoch: int) -> str:
        """An epoch of the stage in words; the first one is 1."""
        return f"stage {self.name!r}, epoch {epoch} of {self.epochs}"


@dataclass(frozen=True)
class Procedure:
    """Something done to the cohort that is no gradient step, such as clustering its features.

    It sees the cohort as the stage before left it, under the cohort's own edges and objectives. A
    resumed training does it again from the beginning or not at all, so what it draws is keyed.

    Attributes:
        name: in logs and messages.
        run: changes the peers in place.
        learners: peers that it changes for good; None for all, an empty collection where it only
            prepares what the next stage trains.
    """

    name: str
    run: Callable[[Cohort, Precision], None]
    learners: Collection[str] | None = None


Stage = TrainingStage | Procedure


class Plan(NamedTuple):
    """Who trains when."""

    stages: Sequence[Stage]  # in order
    names: Sequence[str]  # of the cohort's peers
    peers: Mapping[str, PeerSettings]  # what single peers do their own way; frozen ones never train

    def learners(self, stage: int) -> list[str]:
        """Peers that train in a stage, or are changed by a procedure, wherever they live."""
        given = self.stages[stage].learners
        return [
            name
            for name in self.names
            if not (name in self.peers and self.peers[name].frozen)
            and (given is None or name in given)
        ]

    def last_learners(self, stage: int) -> list[str]:
        """Those of them that do so for the last time."""
        later = {n for number in range(stage + 1, len(self.stages)) for n in self.learners(number)}
        return [name for name in self.learners(stage) if name not in later]

    def trunk_trains_after(self, stage: int) -> bool:
        """Whether a shared trunk trains in a later stage."""
        later = self.stages[stage + 1 :]
        return any(isinstance(each, TrainingStage) and each.trunk for each in later)
