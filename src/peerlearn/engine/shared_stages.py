"""Stages that several runs have in common, trained once and taken from there."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.data.fingerprint import Fingerprint
from peerlearn.engine.checkpoint import Progress
from peerlearn.engine.files import load_state, save_state
from peerlearn.engine.fingerprint import fingerprint
from peerlearn.engine.precision import Precision
from peerlearn.engine.settings import TrainingSpec
from peerlearn.engine.stage import Plan, Stage, TrainingStage
from peerlearn.engine.teaching import Teaching
from peerlearn.engine.trainable import Submodules, joined, weights_of
from peerlearn.engine.updates import Steps
from peerlearn.files import cannot_write
from peerlearn.locks import one_at_a_time
from peerlearn.membership import TRUNK
from peerlearn.transfer.averages import peer_averaged

State = dict[str, Any]
RECORDS = ("history", "seconds", "forwards", "steps")
"""Of the progress, what comes along with a stage that another run has had."""


@dataclass(frozen=True)
class SharedStages:
    """A folder of weights by the key of the stage that ends with them.

    Training is a function of its configuration and seed, so a run that takes a stage from here
    goes on as if it had trained it: its records and the time it took come along. A stage that
    another process is training is waited for. What this process was to train is left to others at
    the end of the context that this is.
    """

    folder: Path
    data: Fingerprint = field(default_factory=dict)  # of the run, where it is known
    _claims: dict[str, ExitStack] = field(default_factory=dict)  # to be trained here, by key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for key in list(self._claims):
            self._leave(key)

    def load(self, key: str) -> State | None:
        """What was saved under `key`, if anything was.

        Raises InputError: the file is damaged.
        """
        path = self._path(key)
        return load_state(path) if path.exists() else None

    def keep(
        self,
        key: str,
        cohort: Cohort,
        submodules: Submodules,
        learners: Collection[str],
        progress: Progress,
    ) -> None:
        """Keep what a stage ended with: those submodules of its learners that have trained so far.

        Raises RunError: the file cannot be written.
        """
        weights = {name: dict(weights_of(cohort.peers[name], submodules)) for name in learners}
        state: State = {"peers": weights} | {name: getattr(progress, name) for name in RECORDS}
        if cohort.trunk is not None:
            state[TRUNK] = cohort.trunk.state_dict()
        save_state(self._path(key), state)
        self._leave(key)

    def take_over(self, cohort: Cohort, keys: Mapping[int, str]) -> Progress | None:
        """Put the last stage that another run has had into the cohort; None where there is none.

        Waits for those that are being trained; those that nobody has had are to be trained here.

        Raises InputError: a file is damaged; RunError: a lock cannot be written.
        """
        for _, key in sorted(keys.items()):
            self._claim(key)
        for number, key in sorted(keys.items(), reverse=True):
            if (state := self.load(key)) is None:
                continue
            for name, weights in state["peers"].items():
                peer = cohort.peers[name]
                peer.load_state_dict(peer.state_dict() | weights)
            if cohort.trunk is not None:
                cohort.trunk.load_state_dict(state[TRUNK])
            return Progress(number + 1, **{name: state[name] for name in RECORDS})
        return None

    def _claim(self, key: str) -> None:
        if self._path(key).exists():
            return
        lock = self.folder / f".{key}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as claim:
                claim.enter_context(one_at_a_time(lock))  # whoever trains it keeps it before
                if not self._path(key).exists():
                    self._claims[key] = claim.pop_all()
        except OSError as error:
            raise cannot_write(lock, error) from error

    def _leave(self, key: str) -> None:
        if claim := self._claims.pop(key, None):
            claim.close()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def stage_keys(
    cohort: Cohort,
    plan: Plan,
    training: TrainingSpec,
    precision: Precision,
    seed: int,
    data: Fingerprint | None = None,
) -> dict[int, str]:
    """By number of every shared stage, a name for all that the weights at its end depend on.

    It is derived from what the stage was built from: its batches, the objectives and edges of its
    learners, how these are stepped, the initial weights and settings of the submodules that train
    and of the trunk, and all stages before it. Peers that do not learn in it, and submodules that
    do not train, count for nothing.
    """
    own, keys = Teaching.of(cohort), {}
    before: list[Any] = [
        seed, precision, training.threads, training.accumulate, training.clip_norm, training.ema,
        cohort.trunk, data or {},
    ]  # fmt: skip
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, TrainingStage):
            before.append(stage)
            continue
        learners, teaching = plan.learners(number), own.within(stage)
        submodules = trained_until(plan.stages, number)
        said = [(training, stage.steps, plan.peers.get(name)) for name in learners]
        steps = [(Steps.settled(*each), Steps.of_groups(*each)) for each in said]
        edges = [
            (teacher, to, entry.options.model_dump(exclude={"teachers", "learners"}))
            for entry in teaching.transfer.entries
            for to, teachers in entry.wanted(learners)
            for teacher in teachers
        ]
        before += [
            replace(stage, transfer=None, objectives=None, learners=learners, steps=None),
            [*steps, Steps.settled(training, stage.steps) if stage.trunk else None],
            [plan.peers[name].view if name in plan.peers else 0 for name in learners],
            [teaching.objectives[name] for name in learners],
            [(edge, cohort.peers[peer_averaged(edge[0])]) for edge in edges],
            [_submodules(cohort.peers[name], submodules) for name in learners],
        ]
        if stage.shared:
            keys[number] = fingerprint(before)
    return keys


def trained_until(stages: Sequence[Stage], number: int) -> Submodules:
    """Submodules of peers that have trained at the end of a stage."""
    trained = stages[: number + 1]
    return joined(stage.trainable for stage in trained if isinstance(stage, TrainingStage))


def _submodules(peer: nn.Module, names: Submodules) -> Any:
    return peer if names is None else {name: peer.get_submodule(name) for name in names}
