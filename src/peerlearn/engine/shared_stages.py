"""Stages that several runs have in common, trained once and taken from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerlearn.engine.files import load_state, save_state

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

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"
