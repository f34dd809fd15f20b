"""What the peers of a cohort learn: from each other, and from data."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.engine.stage import Stage, TrainingStage
from peerlearn.engine.transports import Transport
from peerlearn.objectives.base import Objective, as_objective, module_of
from peerlearn.transfer.graph import TransferGraph


class Teaching(NamedTuple):
    """Edges and objectives, which a stage may have of its own."""

    transfer: TransferGraph  # who teaches whom
    objectives: Mapping[str, Objective]  # what each peer learns from data

    @classmethod
    def of(cls, cohort: Cohort) -> "Teaching":
        """What is in force."""
        return cls(cohort.transfer, dict(cohort.objectives))

    def within(self, stage: Stage) -> "Teaching":
        """What is in force in a stage of a cohort whose own this is."""
        if not isinstance(stage, TrainingStage):
            return self
        given = {name: as_objective(each) for name, each in (stage.objectives or {}).items()}
        return Teaching(stage.transfer or self.transfer, given or self.objectives)

    @classmethod
    @contextmanager
    def kept(cls, cohort: Cohort) -> "Iterator[Teaching]":
        """What the cohort itself learns, which is in force again when the block ends."""
        own = cls.of(cohort)
        try:
            yield own
        finally:
            own.put_into(cohort)

    @classmethod
    def averages(cls, cohort: Cohort, stages: Iterable[Stage]) -> list[nn.Module]:
        """The averaged networks that teach in any of the stages, made where they are not there yet.

        Raises InputError: they cannot be made of this cohort.
        """
        own = cls.of(cohort)
        graphs = {id(it): it for stage in stages for it in (own.within(stage).transfer,)}
        for graph in graphs.values():
            graph.averages.make(cohort.peers, cohort.trunk)
        return [net for it in graphs.values() for net in it.averages.networks(it.averages).values()]

    def put_into(self, cohort: Cohort) -> None:
        """From now on the cohort learns this."""
        if cohort.transfer is not self.transfer:
            cohort.transfer = self.transfer
        if cohort.objectives != self.objectives:
            cohort.objectives = dict(self.objectives)

    def state_dict(self, transport: Transport) -> dict[str, Any]:
        """What edges and objectives have learned and remember."""
        self.gather(transport)
        return {
            "transfer": self.transfer.state_dict(),
            "objectives": transport.collect(
                {name: module.state_dict() for name, module in self._modules(transport).items()}
            ),
        }

    def load_state_dict(self, state: Mapping[str, Any], transport: Transport) -> None:
        """Go on from `state_dict()`."""
        self.transfer.load_state_dict(state["transfer"])
        for name, module in self._modules(transport).items():
            module.load_state_dict(state["objectives"][name])

    def gather(self, transport: Transport) -> None:
        """Have in this process too what edges have learned on behalf of peers elsewhere."""
        if not transport.alone:
            own = {name: self.transfer.learned_by(name) for name in transport.owned}
            for name, learned in transport.collect(own).items():
                if name not in transport.owned:
                    self.transfer.take_over(name, learned)

    def _modules(self, transport: Transport) -> dict[str, nn.Module]:
        return {
            name: module
            for name, objective in self.objectives.items()
            if name in transport.owned and (module := module_of(objective)) is not None
        }
