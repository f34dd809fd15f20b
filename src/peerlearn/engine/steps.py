"""One training step of a cohort: all peers at once, or one after the other.

Every forward runs under a generator keyed by (seed, stage, step, peer), so dropout masks are the
same in every arm, after a resume, and wherever the peer lives.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort, PeerLoss, forward_peers
from peerlearn.data.datasets import Batch
from peerlearn.engine.feature_cache import FeatureCache
from peerlearn.engine.parts import Statistics, join_parts, own_part, running_statistics
from peerlearn.engine.precision import Precision
from peerlearn.engine.transports import Asked, Transport
from peerlearn.engine.updates import PeerUpdate
from peerlearn.membership import TRUNK
from peerlearn.modes import frozen_statistics
from peerlearn.randomness import preserved_rng, start_rng
from peerlearn.transfer.outputs import PeerOutput


class Clock(NamedTuple):
    """When a step happens: micro-batches of the stage before it, and its finished fraction."""

    step: int
    progress: float


@dataclass(frozen=True)
class StepResult:
    """What the learners that live here made of one micro-batch, without gradients."""

    step: int  # number of the micro-batch in the stage
    losses: dict[str, PeerLoss]  # scalars
    logits: dict[str, Tensor]  # that the targets are about, of the peers that have such
    targets: Any  # of the batch
    labelled: Tensor | None  # bool, which rows have a label; None where targets are no labels


@dataclass(frozen=True)
class Stepper:
    """A cohort with everything that a step needs."""

    cohort: Cohort  # the peers, each in the mode it runs in
    updates: Mapping[str, PeerUpdate]  # of the learners that live here, and of the trunk
    precision: Precision  # of forwards
    transport: Transport  # between processes
    views: Mapping[str, int]  # by peer, the number of the view it reads where that is not 0
    learners: Sequence[str]  # peers that train, in the cohort's order; the others only teach
    seed: int  # of random streams
    stage: str  # its name, which keys them too
    epochs: int  # of the stage; schedules end with it
    trunk_learns: bool = True  # whether a shared trunk trains too
    # takes what the trunk makes of rows that are the same in every epoch; None: nothing
    kept: FeatureCache | None = None

    @cached_property
    def owned(self) -> list[str]:
        """Learners that live here."""
        return [name for name in self.transport.owned if name in self.learners]

    @cached_property
    def needed(self) -> list[str]:
        """Learners, and whoever teaches one of them."""
        asked = {
            teacher
            for entry in self.cohort.transfer.entries
            for edges in entry.wanted(self.learners)
            for teacher in edges.teachers
        }
        return [name for name in self.cohort.names if name in asked | set(self.learners)]

    @cached_property
    def _travelling(self) -> list[str]:
        """Peers and averages whose outputs are read where others live."""
        return self.cohort.transfer.travelling(self.learners)

    @cached_property
    def _asked(self) -> Asked:
        """Which features travel with them; None where none does."""
        transfer = self.cohort.transfer
        some = any(entry.travels == "features" for entry in transfer.entries)
        return transfer.asked_of if some else None

    @cached_property
    def _lent(self) -> dict[str, list[Tensor]]:
        """Parameters that learners read where others live."""
        return self.cohort.transfer.lent(self.learners, self.cohort.peers)

    @cached_property
    def _statistics(self) -> list[Statistics]:
        """Layers whose statistics the parts of a step see a share of each."""
        training = [self.cohort.peers[name] for name in self.owned]
        return running_statistics(training) if self.transport.parts > 1 else []

    @cached_property
    def _present(self) -> dict[str, nn.Module]:
        """Networks that run here."""
        here = [name for name in self.transport.owned if name in self.needed]
        return {name: self.cohort.peers[name] for name in here}

    @cached_property
    def _learning(self) -> set[str]:
        """Whose forwards have a gradient."""
        return {*self.learners, *([TRUNK] if self.trunk_learns else [])}

    @cached_property
    def _remembers(self) -> bool:
        return self.cohort.transfer.remembers

    @cached_property
    def _averages(self) -> bool:
        return bool(self.cohort.transfer.averages.of)

    @cached_property
    def _moves(self) -> bool:
        return self.precision.moves

    @cached_property
    def _autocast(self) -> AbstractContextManager[None]:
        return self.precision.autocast()

    def step(self, number: int, when: float, micro_batches: Sequence[Batch]) -> list[StepResult]:
        """One optimiser step of every learner.

        Args:
            number: micro-batches of the stage before this step, which keys its randomness.
            when: epochs of the stage that are done, with fractions; schedules follow it.
            micro_batches: what the step sees, as the loader gives it. Of several processes with the
                same peers each takes a part of them.

        Returns what became of the micro-batches that were taken here.
        """
        clock, total = Clock(number, when / self.epochs), len(micro_batches)
        mine = range(total) if self.transport.alone else own_part(total, self.transport)
        placed = {place: self._placed(micro_batches[place]) for place in mine}
        for update in self.updates.values():
            update.set_rate(when, self.epochs)
            update.zero()
        if self._averages:
            owned = self.transport.owned
            self.cohort.transfer.averages.follow(self.cohort.peers, only=owned)
        if self.cohort.transfer.sequential:
            return [self._sequential(batch, clock) for batch in placed.values()]
        kept = [statistics.kept() for statistics in self._statistics]
        results = [
            self._accumulate(batch, clock, place, 1 / total) for place, batch in placed.items()
        ]
        if self.transport.parts > 1:
            for update in self.updates.values():
                self.transport.sum_gradients(update.parameters)
            join_parts(kept, self.transport)
        for update in self.updates.values():
            update.step()
        return results

    def in_turn(self, per_epoch: int) -> Callable[..., list[StepResult]]:
        """Steps from the beginning of the stage on, one a call.

        Random streams and schedules advance with every batch, and schedules stay at the end of
        the stage once they are there.

        Returns `step(*batches)`: one optimiser step over one batch, or over several that
        accumulate.
        """
        taken = 0

        def step(*batches: Batch) -> list[StepResult]:
            nonlocal taken
            number, taken = taken, taken + len(batches)
            return self.step(number, min(number / per_epoch, self.epochs), batches)

        return step

    def _placed(self, batch: Batch) -> Batch:
        """The batch where the peers are, in the layout that they read."""
        if not self._moves:
            return batch
        moved = {
            name: tensor.to(self.precision.device, non_blocking=True)
            for name in ("y", "versions", "labelled")
            if (tensor := getattr(batch, name)) is not None
        }
        return replace(batch, views=tuple(map(self.precision.place, batch.views)), **moved)

    def _accumulate(self, batch: Batch, clock: Clock, number: int, share: float) -> StepResult:
        """Forward once, exchange, add every peer's gradient."""
        own = self._forward(self._present, batch, clock, number)
        outputs = self._exchange(own | self._averaged(batch), self._travelling)
        losses = self._losses(outputs, batch, clock, self.owned, number)
        totals = [loss.total if share == 1 else loss.total * share for loss in losses.values()]
        # A loss may be a constant, of a peer that learns nothing from this batch.
        if totals:  # else only peers that teach live here
            torch.autograd.backward([total for total in totals if total.requires_grad] or totals)
        if self._remembers:
            self._remember(outputs, batch)
        return self._result(clock.step + number, losses, own, batch)

    def _sequential(self, batch: Batch, clock: Clock) -> StepResult:
        """Each peer learns from the peers before it as they are after their step.

        The second forward of a stepped peer runs without gradient and leaves its normalisation
        statistics alone, so that a batch counts once.
        """
        own = self._forward(self._present, batch, clock, 0)
        here = own | self._averaged(batch)
        before = self._exchange(here, self._travelling)
        outputs = dict(before)
        losses: dict[str, PeerLoss] = {}
        for name in self.learners:
            again = None
            if name in own:
                losses |= self._losses(outputs, batch, clock, [name])
                losses[name].total.backward()
                self.updates[name].step()
                if name != self.learners[-1]:
                    with torch.no_grad(), frozen_statistics(self.cohort):
                        alone = {name: self.cohort.peers[name]}
                        again = self._forward(alone, batch, clock, 0)[name]
            if again is not None:
                outputs[name] = here[name] = again
            if name != self.learners[-1] and name in self._travelling:
                outputs[name] = self._exchange(here, [name])[name]
        if self._remembers:
            self._remember(before, batch)
        return self._result(clock.step, losses, own, batch)

    def _forward(
        self, peers: Mapping[str, nn.Module], batch: Batch, clock: Clock, number: int, *key: str
    ) -> dict[str, PeerOutput]:
        """One forward of each of `peers`, every one with a random stream of its own."""

        def start_stream(name: str) -> None:
            start_rng(self.seed, self.stage, clock.step, number, name, *key)

        x = self._read(batch)
        with preserved_rng(), self._autocast:
            return forward_peers(
                peers, x, self._trunk(batch), learners=self._learning, before=start_stream
            )

    def _elsewhere(self, clock: Clock, number: int) -> dict[str, PeerOutput] | None:
        """What peers say of the rows on which they meet; None: of those of the batch.

        Normalisation statistics are left alone, which are to be those of a peer's own rows.
        """
        if self.transport.meeting is None:
            return None
        meeting = self.transport.meeting(clock.step + number)
        with frozen_statistics(self.cohort):
            batch = self._placed(meeting.batch)
            own = self._forward(self._present, batch, clock, number, "elsewhere")
        return meeting.outputs | own

    def _averaged(self, batch: Batch) -> dict[str, PeerOutput]:
        """What the averages that teach somebody here say, beside the peers."""
        if not self._averages:
            return {}
        with preserved_rng(), self._autocast:
            here = self.transport.owned
            return self.cohort.averaged(self._read(batch), learners=self.learners, peers=here)

    def _read(self, batch: Batch) -> Any:
        """What peers read: one view, or one for each."""
        if len(batch.views) == 1 or not any(self._views.values()):
            return batch.views[0]
        return {name: batch.views[number] for name, number in self._views.items()}

    @cached_property
    def _views(self) -> dict[str, int]:
        """By peer, and by average where it has one of its own, the number of its view."""
        peers = {name: self.views.get(name, 0) for name in self.cohort.names}
        return peers | self.cohort.transfer.averages.views

    def _trunk(self, batch: Batch) -> Callable[[Any], Any] | None:
        """The trunk; where it stands still, what it has made of these rows before."""
        trunk, kept, versions = self.cohort.trunk, self.kept, batch.versions
        if trunk is None or kept is None or versions is None:
            return trunk

        def known(view: Any) -> Any:
            number = next(n for n, each in enumerate(batch.views) if each is view)
            return kept.of(versions[number], partial(trunk, view))

        return known

    def _losses(
        self,
        outputs: Mapping[str, PeerOutput],
        batch: Batch,
        clock: Clock,
        learners: Sequence[str],
        number: int = 0,
    ) -> dict[str, PeerLoss]:
        if not learners:
            return {}
        return self.cohort.losses(
            outputs,
            batch.y,
            labelled=batch.labelled,
            progress=clock.progress,
            learners=learners,
            elsewhere=self._elsewhere(clock, number),
        )

    def _remember(self, outputs: Mapping[str, PeerOutput], batch: Batch) -> None:
        self.cohort.remember(outputs, batch.y, labelled=batch.labelled, learners=self.learners)

    def _result(
        self,
        step: int,
        losses: Mapping[str, PeerLoss],
        outputs: Mapping[str, PeerOutput],
        batch: Batch,
    ) -> StepResult:
        scored = {name: self.cohort.objectives[name].scored(outputs[name]) for name in losses}
        logits = {name: each.detach() for name, each in scored.items() if each is not None}
        detached = {
            name: PeerLoss(loss.objective.detach(), loss.transfer.detach())
            for name, loss in losses.items()
        }
        return StepResult(step, detached, logits, batch.y, batch.labelled)

    def _exchange(self, own: dict[str, PeerOutput], names: Sequence[str]) -> dict[str, PeerOutput]:
        """Outputs of what lives here and `names` from elsewhere; what they lend is as it is now."""
        if self.transport.alone:
            return dict(own)
        outputs = self.transport.exchange(own, names, self._asked, self.needed)
        lent = self._lent
        changed = lent if names == self._travelling else {n: lent[n] for n in names if n in lent}
        self.transport.lend(changed)
        return outputs
