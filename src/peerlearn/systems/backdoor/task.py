"""Classification by a network with a backdoor, and by what defences make of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader, Split
from peerlearn.data.loaders import ArrayLoader, split_rows
from peerlearn.engine.evaluate import Forward, Rows
from peerlearn.engine.precision import Precision
from peerlearn.engine.stage import Procedure, Stage, TrainingStage
from peerlearn.engine.task import Block, Findings, Purpose, Trained
from peerlearn.systems.backdoor.config import (
    OWN,
    SCOUT,
    STUDENT,
    TEACHER,
    VICTIM,
    BackdoorConfig,
    FromScratch,
    NonTargetMutual,
    Nothing,
    StageSpec,
)
from peerlearn.systems.backdoor.data import BackdoorDataset, backdoor_data
from peerlearn.systems.backdoor.defences.base import Batches, CleanRows
from peerlearn.systems.backdoor.defences.masks import pruned_part
from peerlearn.systems.backdoor.metrics import with_triggered
from peerlearn.systems.backdoor.pages import PAGES, pictures
from peerlearn.tasks.classification.task import ClassificationTask
from peerlearn.transfer.graph import TransferGraph

TRIGGERED = "triggered"


def no_labels(logits: Tensor, y: Tensor) -> Tensor:
    """What a student learns from hard labels in non-target training: nothing."""
    return 0 * logits.sum()


class BackdoorTask(ClassificationTask):
    """Classify rows, by a victim of poisoned data and by a student that is purified."""

    Config = BackdoorConfig
    pages = PAGES
    config: BackdoorConfig
    data: BackdoorDataset

    @classmethod
    def read(cls, config: BackdoorConfig) -> BackdoorDataset:  # type: ignore[override]
        victim = config.peers[VICTIM]
        return backdoor_data(
            config.data,
            config.seed,
            victim.model,
            victim.arguments,
            device=config.device,
            threads=config.threads,
        )

    @classmethod
    def decides_data(cls, config: BackdoorConfig) -> Any:  # type: ignore[override]
        """What `read` reads of a configuration, but for device and threads: they choose no row."""
        victim = config.peers[VICTIM]
        return config.data, config.seed, victim.model, victim.arguments

    # What is trained ---------------------------------------------------------------------------

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        """The victim; then what the defence does to the student."""
        config, defence, mutual = self.config, self.config.defence, self._last_stage()
        stages: list[Stage] = [*self._victim(), *self._copies()]
        if isinstance(defence, Nothing):
            return stages
        if isinstance(defence, NonTargetMutual):
            scout = [SCOUT] if SCOUT in config.peers else []
            if scout and config.stages.scout.epochs:
                told = config.stages.scout
                stages.append(self._alone("scout", told, self._clean_loader(told), SCOUT))
            return [
                *stages,
                *self._non_target(cohort),
                replace(mutual, learners=[TEACHER, STUDENT]),
            ]
        if isinstance(defence, FromScratch) or defence.method in OWN:
            return [*stages, mutual]
        purify = partial(self._purify, defence.purify)
        if defence.tunes:
            return [*stages, Procedure(defence.method, purify, learners=()), mutual]
        return [*stages, Procedure(defence.method, purify, [STUDENT])]

    def _victim(self) -> list[Stage]:
        told = self.config.stages.standard
        if not told.epochs or self.config.peers[VICTIM].frozen:
            return []
        return [
            replace(self._alone("standard", told, self._poisoned_loader(told), VICTIM), shared=True)
        ]

    def _copies(self) -> list[Stage]:
        begun = self.config.begun_as_the_victim
        learners = [STUDENT] if isinstance(self.config.defence, Nothing) else ()
        return [Procedure("copies", partial(_copied, begun), learners)] if begun else []

    def _non_target(self, cohort: Cohort) -> list[Stage]:
        told = self.config.stages.non_target
        if not told.epochs:
            return []
        stage = TrainingStage(
            "non_target",
            told.epochs,
            self._non_target_loader(),
            transfer=TransferGraph(told.transfer, cohort.names),
            objectives={STUDENT: no_labels},
            learners=[STUDENT],
            steps=told,
        )
        return [stage]

    def _non_target_loader(self) -> BatchLoader:
        told = self.config.stages.non_target
        return self._poisoned_loader(told) if told.rows == "train" else self._clean_loader(told)

    def _last_stage(self) -> TrainingStage:
        loader = self._clean_loader(StageSpec())
        return TrainingStage("mutual", self.config.epochs, loader, learners=[STUDENT])

    def _alone(self, name: str, told: StageSpec, loader: BatchLoader, peer: str) -> TrainingStage:
        """A stage in which one peer learns from labels, and nobody teaches it."""
        nobody = TransferGraph("none", list(self.config.peers))
        learning = {peer: self.config.objective}
        return TrainingStage(name, told.epochs, loader, nobody, learning, [peer], steps=told)

    def _poisoned_loader(self, told: StageSpec) -> BatchLoader:
        return self.batches(told.batch_size or self.config.batch_size)

    def _clean_loader(self, told: StageSpec) -> ArrayLoader:
        config, data, clean = self.config, self.data, self._clean
        augment = (config.clean_augment or config.augment).resolve(data)
        size = min(told.batch_size or config.batch_size, len(clean))
        return ArrayLoader(clean, size, config.seed, augment, data.mean, data.std, config.views)

    @property
    def _clean(self) -> Split:
        assert self.data.clean is not None, "there are clean rows in every such data set"
        return self.data.clean

    def _purify(
        self, purify: Callable[[Any, CleanRows], None], cohort: Cohort, precision: Precision
    ) -> None:
        """Run a defence on the student, which has the victim's weights."""
        purify(cohort.peers[STUDENT], self.clean_rows(precision))

    def clean_rows(self, precision: Precision) -> CleanRows:
        """The clean rows as a defence reads them."""
        loader, size = self._clean_loader(StageSpec()), self.config.evaluation.batch_size

        def epoch(number: int) -> Batches:
            for batch in loader.epoch(number):
                yield precision.place(batch.x), batch.y.to(precision.device)

        def placed(rows: Rows) -> Batches:
            for x, y in rows():
                yield precision.place(x), y.to(precision.device)

        return CleanRows(
            epoch,
            partial(placed, split_rows(self._clean, self.data, size)),
            partial(placed, self.rows["val"]),
            self.config.seed,
        )

    # What is measured --------------------------------------------------------------------------

    def row_sets(self) -> Mapping[str, Rows]:
        sets = dict(super().row_sets())
        if (triggered := self.data.triggered) is not None:
            sets[TRIGGERED] = split_rows(triggered, self.data, self.config.evaluation.batch_size)
        return sets

    def evaluate(self, forward: Forward, purpose: Purpose) -> Block:
        block = super().evaluate(forward, purpose)
        if purpose == "validation" or self.data.aims is None:
            return block
        batches, members = forward(self.rows[TRIGGERED]), self.config.evaluation.members
        return with_triggered(block, batches, self.data.aims, VICTIM, members)

    def finish(self, trained: Trained) -> Findings:
        told = {}
        if self.config.defence.prunes:
            told[STUDENT] = {"pruned": pruned_part(trained.cohort.peers[STUDENT])}
        return Findings(self.info, told, pictures=pictures(self.data))


def _copied(names: Sequence[str], cohort: Cohort, precision: Precision) -> None:
    """Give peers the weights of the victim."""
    for name in names:
        cohort.peers[name].load_state_dict(cohort.peers[VICTIM].state_dict())
