"""The same networks without the engine: alone, and with the losses of their recipe."""

import copy
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.cohort import Cohort, forward_peers
from peerlearn.data.datasets import Batch
from peerlearn.engine.precision import Precision
from peerlearn.engine.stage_run import StageRun
from peerlearn.engine.steps import Stepper
from peerlearn.engine.updates import PeerUpdate
from peerlearn.membership import TRUNK
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.transfer.outputs import PeerOutput

BATCHES = 8
"""Of an epoch at most so many are taken."""


class Bare:
    """Copies of a stage's networks and optimisers, which train on batches of the stage.

    Each step is what one writes by hand: forward, loss, backward, optimiser, in the precision of
    the stage; networks that only teach go forward. What a trunk that stands still makes of rows is
    there already where the engine would have kept it too.
    """

    def __init__(self, run: StageRun, batches: int = BATCHES) -> None:
        stepper, loader = run.stepper, run.stage.loader
        self.stepper: Stepper = stepper
        self.steps = len(loader)
        self.precision: Precision = stepper.precision
        self.cohort: Cohort
        self.updates: Mapping[str, PeerUpdate]
        with patch.object(Tensor, "__deepcopy__", _copied):
            self.cohort, self.updates = copy.deepcopy((stepper.cohort, dict(run.updates)))
        self.peers: dict[str, nn.Module] = {n: self.cohort.peers[n] for n in stepper.needed}
        self.trunk = self.cohort.trunk
        self.learning = {*stepper.learners, *([TRUNK] if stepper.trunk_learns else [])}
        #: As the loader gives them, and as the networks read them.
        self.seen = list(islice(loader.epoch(0), batches))
        #: Whether epochs consist of the very same rows, as a graph that is a batch by itself.
        self.kept = next(iter(loader.epoch(1))).views[0] is self.seen[0].views[0]
        self.batches = [stepper._placed(batch) for batch in self.seen]
        if self.trunk is not None and stepper.kept is not None:
            self.batches = [self._through(self.trunk, batch) for batch in self.batches]
            self.trunk = None

    def alone(self) -> float:
        """CPU seconds of an epoch of cross-entropy towards the first class, each by itself."""
        return self._epoch(lambda outputs, _: [_plain(outputs[n].logits) for n in self._learners])

    def with_losses(self, progress: float) -> float:
        """CPU seconds of an epoch of the stage's own losses, memories included."""

        def losses(outputs: dict[str, PeerOutput], batch: Batch) -> list[Tensor]:
            about: dict[str, Any] = {"labelled": batch.labelled, "learners": self._learners}
            found = self.cohort.losses(outputs, batch.y, progress=progress, **about)
            self.cohort.remember(outputs, batch.y, **about)
            totals = [loss.total for loss in found.values()]
            return [total for total in totals if total.requires_grad] or totals

        return self._epoch(losses, self.cohort.transfer.averages)

    @property
    def _learners(self) -> Sequence[str]:
        return self.stepper.learners

    def _epoch(
        self, losses: Callable[[dict[str, PeerOutput], Batch], list[Tensor]], averages: Any = None
    ) -> float:
        began = time.process_time()
        for batch in self.batches:
            for update in self.updates.values():
                update.zero()
            x = self.stepper._read(batch if self.kept else _never_seen(batch))
            with self.precision.autocast():
                outputs = forward_peers(self.peers, x, self.trunk, learners=self.learning)
                if averages is not None and averages.of:
                    averages.follow(self.cohort.peers)
                    outputs |= self.cohort.averaged(x, learners=self._learners)
            torch.autograd.backward(losses(outputs, batch))
            for update in self.updates.values():
                update.step()
        return (time.process_time() - began) * self.steps / len(self.batches)

    def _through(self, trunk: nn.Module, batch: Batch) -> Batch:
        with torch.no_grad(), self.precision.autocast():
            return replace(batch, views=tuple(trunk(view) for view in batch.views))


def _never_seen(batch: Batch) -> Batch:
    """The batch without what networks keep of a graph, such as its normalised operator."""
    graphs = (replace(view) if isinstance(view, Graph) else view for view in batch.views)
    return replace(batch, views=tuple(graphs))


_copy_of_tensor = Tensor.__deepcopy__


def _copied(tensor: Tensor, memo: Any) -> Any:
    """A copy; itself where it is a sparse matrix, which torch cannot copy so: a graph's, fixed."""
    return tensor if tensor.layout == torch.sparse_csr else _copy_of_tensor(tensor, memo)


def _plain(logits: Tensor) -> Tensor:
    rows: Collection[int] = (logits.shape[0], *logits.shape[2:])
    return F.cross_entropy(logits, torch.zeros(tuple(rows), dtype=torch.long))
