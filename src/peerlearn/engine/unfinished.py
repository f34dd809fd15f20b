"""What a run that is not finished can already be used for: its weights so far."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from peerlearn.engine.run_folder import RunFolder, State
from peerlearn.errors import InputError
from peerlearn.membership import TRUNK

AVERAGE = "module."
"""Begins the names of averaged weights in a checkpoint."""


class Unfinished:
    """The last checkpoint of a run, and the weights that were selected until then.

    Raises InputError: the run has none yet.
    """

    def __init__(self, folder: RunFolder) -> None:
        state = folder.load_last()
        if state is None:
            raise InputError(
                f"{folder.path}: the run is not finished, and has saved no epoch yet; continue it "
                f"by the command that began it, with --out {folder.path} --resume"
            )
        self._folder = folder
        self._state: State = state

    @property
    def peers(self) -> list[str]:
        """Names of the peers, in order."""
        return list(self._state["peers"])

    @property
    def selected(self) -> dict[str, dict[str, Any]]:
        """By peer, the epoch that did best on validation so far, and its value."""
        return {name: known for name, known in self._state["selected"].items() if known}

    @property
    def note(self) -> str:
        """In words: how far it is, and of which epochs the weights are."""
        history = self._state["progress"]["history"]
        if not history:
            return "not finished: weights of its first epoch"
        last = history[-1]
        of = f"epoch {last['epoch']} of {last['of']} (stage {last['stage']!r})"
        if not self.selected:
            return f"not finished: weights of {of}"
        best = ", ".join(f"{name} of epoch {k['epoch']}" for name, k in self.selected.items())
        others = [f"{n} of epoch {last['epoch']}" for n in self.peers if n not in self.selected]
        further = "; ".join(["", *others])  # peers of which no epoch counts yet
        return f"not finished, after {of}: best weights so far, {best}{further}"

    def weights(self, peer: str) -> Mapping[str, Tensor]:
        """Those selected so far, else those of the checkpoint, averaged where the run averages."""
        if self._folder.best(peer).exists():
            return self._folder.load_best(peer)
        updates = (self._state["run"] or {}).get("updates", {})
        if averaged := updates.get(peer, {}).get("average"):
            names = (name for name in averaged if name.startswith(AVERAGE))
            return {name.removeprefix(AVERAGE): averaged[name] for name in names}
        return self._state[TRUNK] if peer == TRUNK else self._state["peers"][peer]
