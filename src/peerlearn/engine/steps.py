"""One training step of a cohort: all peers at once, or one after the other.

Every forward runs under a generator keyed by (seed, stage, step, peer), so dropout masks are the
same in every arm, after a resume, and wherever the peer lives.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peerlearn.cohort import Cohort, PeerLoss, forward_peers
from peerlearn.engine.kept_inputs import KeptInputs
from peerlearn.engine.modes import frozen_statistics
from peerlearn.engine.precision import Precision
from peerlearn.engine.transports import Transport
from peerlearn.engine.updates import PeerUpdate
from peerlearn.objectives.labels import labelled_mask
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.outputs import PeerOutput


class Clock(NamedTuple):
    """When a step happens."""

    seed: int
    stage: str
    step: int
    progress: float


@dataclass(frozen=True)
class StepResult:
    """What the learners that live here made of one micro-batch, without gradients.

    Attributes:
        losses: scalars.
        logits: that the targets are about, of the peers that have such.
        targets: of the batch.
        labelled: bool, which rows have a label; None where targets are no labels.
    """

    losses: dict[str, PeerLoss]
    logits: dict[str, Tensor]
    targets: Any
    labelled: Tensor | None


@dataclass(frozen=True)
class Stepper:
    """A cohort with everything that a step needs.

    Attributes:
        cohort: the peers, each in the mode it runs in.
        updates: of the learners that live here, and of the trunk.
        precision: of forwards.
        transport: between processes.
        views: by peer, the number of the view it reads where that is not 0.
        learners: peers that train, in the cohort's order; the others only teach.
        trunk_learns: whether a shared trunk trains too.
        kept: takes what the trunk makes of rows that are the same in every epoch; None: nothing.
    """

    cohort: Cohort
    updates: Mapping[str, PeerUpdate]
    precision: Precision
    transport: Transport
    views: Mapping[str, int]
    learners: Sequence[str]
    trunk_learns: bool = True
    kept: KeptInputs | None = None

    @cached_property
    def owned(self) -> list[str]:
        """Learners that live here."""
        return [name for name in self.transport.owned if name in self.learners]

    @cached_property
    def needed(self) -> list[str]:
        """Learners, and whoever teaches one of them."""
        needed = self.cohort.transfer.teachers_of(self.learners) | set(self.learners)
        return [name for name in self.cohort.names if name in needed]

    def step(self, micro_batches: Sequence[Any], clock: Clock) -> list[StepResult]:
        """One optimiser step of every peer over one or more micro-batches."""
        for update in self.updates.values():
            update.zero()
        if self.cohort.transfer.sequential:
            return [self._sequential(batch, clock) for batch in micro_batches]
        results = [
            self._accumulate(batch, clock, number, 1 / len(micro_batches))
            for number, batch in enumerate(micro_batches)
        ]
        for update in self.updates.values():
            update.step()
        return results

    def _accumulate(self, batch: Any, clock: Clock, number: int, share: float) -> StepResult:
        """Forward once, exchange, add every peer's gradient."""
        own = self._forward_all(batch, clock, number)
        outputs = self._exchange(own)
        labelled = labelled_mask(batch.y)
        losses = self.cohort.losses(
            outputs, batch.y, labelled=labelled, progress=clock.progress, learners=self.owned
        )
        (torch.stack([loss.total for loss in losses.values()]).sum() * share).backward()
        self.cohort.remember(outputs, batch.y, labelled=labelled, learners=self.learners)
        return self._result(losses, own, batch.y, labelled)

    def _sequential(self, batch: Any, clock: Clock) -> StepResult:
        """Each peer learns from the peers before it as they are after their step.

        The second forward of a stepped peer runs without gradient and leaves its normalisation
        statistics alone, so that a batch counts once.
        """
        own, labelled = self._forward_all(batch, clock, 0), labelled_mask(batch.y)
        before = self._exchange(own)
        outputs = dict(before)
        losses: dict[str, PeerLoss] = {}
        for name in self.learners:
            again = None
            if name in own:
                losses |= self.cohort.losses(
                    outputs,
                    batch.y,
                    labelled=labelled,
                    progress=clock.progress,
                    learners=[name],
                )
                losses[name].total.backward()
                self.updates[name].step()
                if name != self.learners[-1]:
                    with torch.no_grad(), frozen_statistics(self.cohort):
                        view = self.views.get(name, 0)
                        again = self._forward([name], batch, view, clock, 0)[name]
            if name != self.learners[-1]:
                outputs[name] = self.transport.share(name, again, _any_logits(own))
        self.cohort.remember(before, batch.y, labelled=labelled, learners=self.learners)
        return self._result(losses, own, batch.y, labelled)

    def _result(
        self,
        losses: Mapping[str, PeerLoss],
        outputs: Mapping[str, PeerOutput],
        targets: Any,
        labelled: Tensor | None,
    ) -> StepResult:
        scored = {name: self.cohort.objectives[name].scored(outputs[name]) for name in losses}
        return StepResult(
            {name: PeerLoss(*(part.detach() for part in loss)) for name, loss in losses.items()},
            {name: logits.detach() for name, logits in scored.items() if logits is not None},
            targets,
            labelled,
        )

    def _forward_all(self, batch: Any, clock: Clock, number: int) -> dict[str, PeerOutput]:
        by_view: dict[int, list[str]] = {}  # one pass of the trunk however many peers see a view
        present = [name for name in self.transport.owned if name in self.needed]
        for name in present:
            by_view.setdefault(self.views.get(name, 0), []).append(name)
        outputs: dict[str, PeerOutput] = {}
        for view, names in by_view.items():
            outputs |= self._forward(names, batch, view, clock, number)
        return {name: outputs[name] for name in present}

    def _forward(
        self, names: Sequence[str], batch: Any, view: int, clock: Clock, number: int
    ) -> dict[str, PeerOutput]:
        scope = partial(seeded_rng, clock.seed, clock.stage, clock.step, number)
        with self.precision.autocast():
            with scope("trunk"), nullcontext() if self.trunk_learns else torch.no_grad():
                shared = self._shared(batch, view)
            trained, fixed = (
                {
                    name: self.cohort.peers[name]
                    for name in names
                    if (name in self.learners) == learns
                }
                for learns in (True, False)
            )
            outputs = forward_peers(trained, shared, scope)
            with torch.no_grad():
                return outputs | forward_peers(fixed, shared, scope)

    def _shared(self, batch: Any, view: int) -> Any:
        compute = partial(self.cohort.shared_input, batch.views[view])
        if self.kept is None or batch.versions is None:
            return compute()
        return self.kept.of(batch.versions[view], compute)

    def _exchange(self, own: Mapping[str, PeerOutput]) -> dict[str, PeerOutput]:
        like = _any_logits(own)
        return {name: self.transport.share(name, own.get(name), like) for name in self.needed}


def _any_logits(outputs: Mapping[str, PeerOutput]) -> Tensor:
    return next(iter(outputs.values())).logits.detach()
