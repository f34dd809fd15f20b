"""Where a training stands, on disk: all that it needs to go on as if it had never stopped."""

import time
from dataclasses import dataclass, field
from typing import Any

from peerlearn.cohort import Cohort
from peerlearn.engine.run_folder import VERSION, RunFolder, State
from peerlearn.engine.selection import Selection
from peerlearn.engine.stage_run import StageRun
from peerlearn.engine.teaching import Teaching
from peerlearn.engine.transports import Transport
from peerlearn.membership import TRUNK

SAVING_SHARE = 50
"""Epochs may be as short as milliseconds: save for a fiftieth of the time."""


@dataclass
class Progress:
    """How far a training has come, and what it has gone through.

    Everything before stage, epoch and step is done; a step is a micro-batch.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)  # the records of `metrics.jsonl`
    # Measured blocks of the last epochs, where their mean is reported.
    tail: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0  # spent in steps
    forwards: int = 0  # in training, of all peers that live here
    steps: int = 0  # of the optimisers

    def count(self) -> None:
        """One more training forward."""
        self.forwards += 1

    def only_last(self, epochs: int) -> None:
        """Of the blocks of the last epochs only these are still among the last."""
        del self.tail[: len(self.tail) - max(epochs, 0)]

    def next_stage(self) -> None:
        """The stage is done."""
        self.stage, self.epoch, self.step = self.stage + 1, 0, 0


class Checkpoints:
    """The last checkpoint of a run, written as often as is worth it; without a folder, none.

    `minutes` is the longest time without one.
    """

    def __init__(self, folder: RunFolder | None, transport: Transport, minutes: float) -> None:
        self.folder = folder
        self.transport = transport
        self.minutes = minutes
        self._saved, self._saving = time.perf_counter(), 0.0

    def load(self) -> State | None:
        """What there is to go on from.

        Raises InputError: a checkpoint that is damaged, or of another version.
        """
        return self.folder.load_last() if self.folder is not None else None

    def due(self) -> bool:
        """Whether an epoch has gone on for so long that it must not be lost."""
        waited = time.perf_counter() - self._saved
        return self.folder is not None and waited > 60 * self.minutes

    def worth_saving(self) -> bool:
        """Whether saving costs little beside what would be lost."""
        return time.perf_counter() - self._saved > SAVING_SHARE * self._saving

    def save(
        self,
        cohort: Cohort,
        own: Teaching,
        selection: Selection,
        progress: Progress,
        run: StageRun | None,
    ) -> None:
        """Write the checkpoint, and the weights that are selected so far.

        Args:
            own: edges and objectives of the cohort, whatever those of the stage are.
            run: the stage that goes on; None where the next one begins, with new optimisers.
        """
        if self.folder is None:
            return
        began = time.perf_counter()
        selection.save(self.folder)
        owned, collect = self.transport.owned, self.transport.collect
        state: State = {
            "version": VERSION,
            "progress": vars(progress) | {"forwards": self.transport.total(progress.forwards)},
            "peers": collect({name: cohort.peers[name].state_dict() for name in owned}),
            "teaching": own.state_dict(self.transport),
            "selected": collect({n: k for n, k in selection.known.items() if n in owned}),
            "run": None if run is None else self._of_run(run, cohort),
        }
        if cohort.trunk is not None:
            state[TRUNK] = cohort.trunk.state_dict()
        if self.transport.leads:
            self.folder.save_last(state)
        self._saved = time.perf_counter()
        self._saving = self._saved - began

    def _of_run(self, run: StageRun, cohort: Cohort) -> State:
        updates = {name: update.state_dict() for name, update in run.updates.items()}
        trunk = {TRUNK: updates.pop(TRUNK)} if TRUNK in updates else {}
        return {
            "updates": self.transport.collect(updates) | trunk,
            "monitor": self.transport.collect(run.monitor.state_dict(self.transport.summed)),
            "teaching": Teaching.of(cohort).state_dict(self.transport),
        }

    def restore_cohort(self, state: State, cohort: Cohort, own: Teaching) -> None:
        """Give the cohort of the stage that goes on, or begins, what it had.

        The cohort has the edges and objectives of the stage, `own` are those of the cohort.
        """
        for name in self.transport.owned:
            cohort.peers[name].load_state_dict(state["peers"][name])
        if cohort.trunk is not None:
            cohort.trunk.load_state_dict(state[TRUNK])
        own.load_state_dict(state["teaching"], self.transport)
        if state["run"] is not None:
            Teaching.of(cohort).load_state_dict(state["run"]["teaching"], self.transport)

    def restore_run(self, state: State, run: StageRun) -> None:
        """Give optimisers, averages and sums what they had, unless the stage only begins."""
        if state["run"] is None:
            return
        for name, update in run.updates.items():
            update.load_state_dict(state["run"]["updates"][name])
        if self.transport.part == 0:  # the sums are those of all parts
            run.monitor.load_state_dict(state["run"]["monitor"])
