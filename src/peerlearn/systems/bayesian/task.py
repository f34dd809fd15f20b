"""Classification by Bayesian peers, which may train as deterministic networks first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.loaders import split_rows
from peerlearn.engine.precision import Precision
from peerlearn.engine.settings import MOST_EPOCHS, StepSettings
from peerlearn.engine.stage import Procedure, Stage, TrainingStage
from peerlearn.models.bayesian import BayesianNetwork
from peerlearn.models.bayesian.laplace import fit_laplace, read_for_laplace
from peerlearn.models.bayesian.network import Deterministic
from peerlearn.objectives.labels import labelled_rows
from peerlearn.tasks.classification.config import ClassificationConfig
from peerlearn.tasks.classification.task import ClassificationTask
from peerlearn.transfer.graph import TransferGraph
from peerlearn.validation import Spec


class DeterministicSpec(StepSettings):
    """The stage before the mutual one."""

    epochs: int = Field(
        0,
        ge=0,
        le=MOST_EPOCHS,
        description="every peer trains alone, as a deterministic network whose weights become the "
        "means; 0: from scratch",
    )


class StagesSpec(Spec):
    """The `stages` block: what happens before the cohort trains together."""

    deterministic: DeterministicSpec = Field(DeterministicSpec(), description="see there")


class BayesianConfig(ClassificationConfig):
    """Configuration of `bayesian`."""

    fits_afterwards = True

    stages: StagesSpec = Field(StagesSpec(), description="see StagesSpec")


class BayesianTask(ClassificationTask):
    """Classify rows, with peers that may begin as deterministic networks."""

    Config = BayesianConfig
    config: BayesianConfig

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        """All peers alone and deterministic where that has epochs, then together.

        Where posteriors are fitted afterwards, weights of the last epoch count for those peers.
        """
        (mutual,) = super().stages(cohort)
        assert isinstance(mutual, TrainingStage)
        peers = self.config.peers.items()
        waiting = [n for n, it in peers if it.bayesian and it.bayesian.posterior == "laplace"]
        fitted = [Procedure("laplace", partial(_fit, self, waiting), waiting)] if waiting else []
        for name in waiting:  # before a training that would be for nothing
            peer = _with_posterior(cohort, name)
            few = next(iter(_batches(self, torch.arange(2)))).to(next(peer.parameters()).device)
            read_for_laplace(peer, few, f"peers.{name}.bayesian")
        steps = self.config.stages.deterministic
        if not steps.epochs:
            return [mutual, *fitted]
        alone = replace(
            mutual,
            name="deterministic",
            epochs=steps.epochs,
            transfer=TransferGraph("none", cohort.names),
            objectives=dict.fromkeys(cohort.names, self.config.objective),
            steps=steps,
            shared=True,
            around=Deterministic,
        )
        return [alone, Procedure("posteriors", _centre_priors, learners=()), mutual, *fitted]


def _centre_priors(cohort: Cohort, precision: Precision) -> None:
    """Empirical priors are around the weights that the stage before has left."""
    for peer in cohort.peers.values():
        if isinstance(peer, BayesianNetwork):
            peer.centre_prior()


def _fit(task: BayesianTask, peers: Sequence[str], cohort: Cohort, precision: Precision) -> None:
    """Laplace's approximation around the weights that training has left, by its labelled rows."""
    labelled = labelled_rows(task.data.train.y).nonzero()[:, 0]
    for name in peers:
        batches = map(precision.place, _batches(task, labelled))
        fit_laplace(_with_posterior(cohort, name), batches, cohort.transfer.form)


def _batches(task: BayesianTask, rows: Tensor) -> Iterator[Tensor]:
    """What peers read of some training rows, as in evaluation."""
    split = task.data.train.select(rows).decoded()
    return (x for x, _ in split_rows(split, task.data, task.config.evaluation.batch_size)())


def _with_posterior(cohort: Cohort, name: str) -> BayesianNetwork:
    peer = cohort.peers[name]
    assert isinstance(peer, BayesianNetwork)
    return peer
