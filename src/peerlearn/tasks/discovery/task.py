"""New classes among unlabelled rows, with the help of labelled ones of other classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.registry import DATASETS
from peerlearn.data.words import label_counts
from peerlearn.engine.evaluate import Forward, Rows, concluded
from peerlearn.engine.stage import Stage
from peerlearn.engine.task import Block, Findings, Purpose, Trained
from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.modes import evaluating
from peerlearn.tasks.contract import Task
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset, DiscoveryInfo
from peerlearn.tasks.discovery.data.loaders import evaluation_rows
from peerlearn.tasks.discovery.data.registry import load_discovery
from peerlearn.tasks.discovery.findings import (
    assessment_of,
    branch_metrics,
    contact_sheets,
    members_of,
    unlabelled_logits,
    with_orders,
)
from peerlearn.tasks.discovery.metrics.assessment import DiscoveryAssessment
from peerlearn.tasks.discovery.networks import build_discovery_cohort
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective
from peerlearn.tasks.discovery.pages import PAGES
from peerlearn.tasks.discovery.reader import ClusterReader
from peerlearn.tasks.discovery.stages import discovery_stages, joint_loader
from peerlearn.transfer.outputs import PeerOutput


class DiscoveryTask(Task[DiscoveryConfig, DiscoveryDataset, DiscoveryInfo]):
    """Find new classes."""

    Config = DiscoveryConfig
    pages = PAGES
    Reader = ClusterReader
    catalogue = DATASETS
    models = MODELS
    unprovable = (
        "whether a cluster is right can only be told from labels of new classes, which training "
        "must not read"
    )

    @classmethod
    def read(cls, config: DiscoveryConfig) -> DiscoveryDataset:
        return load_discovery(config.data)

    @classmethod
    def informed(cls, config: DiscoveryConfig, data: DiscoveryDataset) -> DiscoveryInfo:
        return DiscoveryInfo.from_discovery(data, new_classes(config, data), config.data.overlap)

    @classmethod
    def build(cls, config: DiscoveryConfig, info: DiscoveryInfo) -> Cohort:
        new = info.classes - info.known
        return build_discovery_cohort(config, info.sample_shape, info.known, new)

    @classmethod
    def restore(cls, config: DiscoveryConfig, info: DiscoveryInfo) -> Cohort:
        """As before, whatever has become of the weights that the run started from."""
        return cls.build(config.model_copy(update={"weights": None}), info)

    @classmethod
    def runs(cls, config: DiscoveryConfig, peer: str) -> Sequence[str]:
        feeder = config.peers[peer].fed_by
        return (peer,) if feeder is None else (peer, feeder)

    def label_counts(self) -> Sequence[int] | None:
        return label_counts(self.data.train.y, self.info.known)

    def few(self) -> tuple[Any, Tensor, str]:
        """One unlabelled row twice, so that pairs can be compared."""
        few = self.data.train.select(self.data.unlabelled[:1].repeat(2))
        x, y = next(evaluation_batches(few, 2, self.data.mean, self.data.std))
        return x, y, f"rows of shape {self.info.sample_shape} of data {self.info.name!r}"

    def check(self, cohort: Cohort, outputs: Mapping[str, PeerOutput], y: Tensor) -> None:
        with evaluating(cohort):
            for name, objective in cohort.objectives.items():
                if isinstance(objective, DiscoveryObjective):
                    objective.pseudo_labels(objective.compared(outputs[name]))

    def loader(self) -> BatchLoader:
        return joint_loader(self.config, self.data)

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        return discovery_stages(self.config, self.data)

    def row_sets(self) -> Mapping[str, Rows]:
        return evaluation_rows(self.data, self.config.evaluation.batch_size)

    def measured(self, purpose: Purpose) -> Sequence[str]:
        """Clusters are matched on unlabelled rows and used on those of test, so both, always."""
        return tuple(self.rows)

    def assessment(self, purpose: Purpose) -> DiscoveryAssessment:
        return assessment_of(self.config, self.info)

    def evaluate(self, forward: Forward, purpose: Purpose) -> Block:
        assessment = self.assessment(purpose)
        for name, rows in self.rows.items():
            for logits, y in forward(rows):
                assessment.add(logits, y, name)
        return concluded(assessment, with_rows=purpose == "report")

    def row_set(self) -> str:
        """Unlabelled rows are those of train that have no label there."""
        return self._row_set_of(("train", "truth", "test"))

    def finish(self, trained: Trained) -> Findings:
        members = members_of(trained.cohort, self.config)
        logits = unlabelled_logits(trained.forward, self.rows["unlabelled"])
        info, pictures = with_orders(self.info, logits, members), {}
        metrics = branch_metrics(trained, self.data, self.config.batch_size)
        if len(info.sample_shape) == 3:
            pictures = contact_sheets(logits, members, self.data, info, self.config)
        return Findings(info, metrics, pictures=pictures)


def new_classes(config: DiscoveryConfig, data: DiscoveryDataset) -> int:
    """How many clusters to look for among the unlabelled rows.

    Raises InputError: nobody knows, or there are more than unlabelled rows.
    """
    wanted = config.classes or data.novel
    if wanted is None:
        raise InputError(
            f"classes: data {data.name!r} does not say how many new classes there are; give their "
            "number, or let `peerlearn discover --classes auto` estimate it"
        )
    if wanted > len(data.unlabelled):
        raise InputError(
            f"classes: {wanted} new classes among {len(data.unlabelled)} unlabelled rows; allowed: "
            f"1 to {len(data.unlabelled)}"
        )
    return wanted
