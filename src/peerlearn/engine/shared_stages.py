"""Stages that several runs have in common, trained once and taken from there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerlearn.cohort import TRUNK, Cohort
from peerlearn.engine.checkpoint import Progress
from peerlearn.engine.files import load_state, save_state
from peerlearn.engine.stage import Stage, TrainingStage
from peerlearn.engine.trainable import joined, weights_of

State = dict[str, Any]


@dataclass(frozen=True)
class SharedStages:
    """A folder of weights by the key of the stage that ends with them.

    Training is a function of its configuration and seed, so a run that takes a stage from here
    goes on as if it had trained it: its records and the time it took come along.
    """

    folder: Path

    def load(self, key: str) -> State | None:
        """What was saved under `key`, if anything was.

        Raises:
            InputError: the file is damaged.
        """
        path = self._path(key)
        return load_state(path) if path.exists() else None

    def save(self, key: str, state: Mapping[str, Any]) -> None:
        """Keep what a stage ended with.

        Raises:
            RunError: the file cannot be written.
        """
        save_state(self._path(key), dict(state))

    def keep(
        self, cohort: Cohort, stages: Sequence[Stage], learners: Collection[str], progress: Progress
    ) -> None:
        """Keep what the submodules that have trained, and the trunk, are after `stages`.

        Args:
            cohort: as the last of `stages` left it.
            stages: all that were trained, the last one with a key.
            learners: peers that trained in the last one.
            progress: of the training.
        """
        last, trained = stages[-1], [s for s in stages if isinstance(s, TrainingStage)]
        if not isinstance(last, TrainingStage) or last.key is None:
            return
        submodules = joined(stage.trainable for stage in trained)
        state: State = {
            "peers": {name: weights_of(cohort.peers[name], submodules) for name in learners},
            "history": progress.history,
            "seconds": progress.seconds,
            "forwards": progress.forwards,
            "steps": progress.steps,
        }
        if cohort.trunk is not None:
            state[TRUNK] = cohort.trunk.state_dict()
        self.save(last.key, state)

    def take_over(self, cohort: Cohort, stages: Sequence[Stage]) -> Progress | None:
        """Put the last stage that another run has had into the cohort; None where there is none.

        Raises:
            InputError: a file is damaged.
        """
        for number in reversed(range(len(stages))):
            stage = stages[number]
            key = stage.key if isinstance(stage, TrainingStage) else None
            state = self.load(key) if key is not None else None
            if state is None:
                continue
            for name, weights in state["peers"].items():
                peer = cohort.peers[name]
                peer.load_state_dict(peer.state_dict() | weights)
            if cohort.trunk is not None:
                cohort.trunk.load_state_dict(state[TRUNK])
            return Progress(
                number + 1,
                history=state["history"],
                seconds=state["seconds"],
                forwards=state["forwards"],
                steps=state["steps"],
            )
        return None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"
