"""peerlearn's side: cohorts in its engine. A graph is one batch, so that a step is an epoch."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from benchmarks.graph.peers import ADAM, LR, MUTUAL, Peers
from benchmarks.speed.timing import Opened, Work
from benchmarks.speed.work import stepping
from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import assessed, predict
from peerlearn.engine.settings import EvaluationSpec, TrainingSpec
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.task import RowEvaluator
from peerlearn.engine.trainer import Trainer
from peerlearn.metrics.assessment import ClassificationAssessment
from peerlearn.modes import evaluating
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.graphs.data.datasets import NodeDataset
from peerlearn.tasks.graphs.data.loaders import NodeLoader, node_rows
from peerlearn.tasks.graphs.models import GRAPH_MODELS

TRAINING = TrainingSpec.model_validate(
    {
        "epochs": 1,
        "lr": LR,
        "optimiser": {"name": "adam", **ADAM},
        "lr_schedule": "constant",
        "precision": "fp32",
        "device": "cpu",
        "evaluation": {"select": "last"},
    }
)


def trainer_of(peers: Peers, data: NodeDataset, transfer: Any = MUTUAL) -> Trainer:
    """What trains `peers` on the whole graph."""
    return _trainer(_cohort(peers, data, transfer), data, TRAINING)


def epoch_of(peers: Peers, data: NodeDataset, transfer: Any = MUTUAL) -> Opened:
    """One epoch of training, which is one step."""
    return stepping(trainer_of(peers, data, transfer))


@contextmanager
def epoch_and_validation(peers: Peers, data: NodeDataset) -> Iterator[Work]:
    """One epoch of training and a validation after it."""
    trainer, rows = trainer_of(peers, data), node_rows(data, "val")
    with stepping(trainer) as epoch:

        def both() -> None:
            epoch()
            outputs = predict(dict(trainer.cohort.peers.items()), rows, trainer.precision)
            assessed(outputs, ClassificationAssessment())

        yield both


def training(peers: Peers, data: NodeDataset, epochs: int) -> Work:
    """A whole `Trainer.run` that validates after every epoch and keeps the best weights."""
    cohort, best = _cohort(peers, data, MUTUAL), EvaluationSpec(select="best")
    spec = TRAINING.model_copy(update={"epochs": epochs, "evaluation": best})
    return lambda: _trainer(cohort, data, spec).run()


def forwards_per_step(peers: Peers, data: NodeDataset) -> dict[str, int]:
    """Training forwards of each network in one step, counted at the networks themselves."""
    trainer = trainer_of(peers, data)
    calls: Counter[str] = Counter()
    for name, peer in trainer.cohort.peers.items():
        peer.register_forward_hook(partial(_count, calls, name))
    with stepping(trainer) as epoch:
        epoch()
    return dict(calls)


def parameters(peers: Peers, data: NodeDataset) -> int:
    """Number of weights of all networks."""
    return sum(p.numel() for p in _cohort(peers, data, "none").peers.parameters())


def _trainer(cohort: Cohort, data: NodeDataset, spec: TrainingSpec) -> Trainer:
    stage = TrainingStage("mutual", spec.epochs, NodeLoader(data))
    return Trainer(cohort, [stage], spec, RowEvaluator(validation=node_rows(data, "val")))


def _cohort(peers: Peers, data: NodeDataset, transfer: Any) -> Cohort:
    built = {}
    for name, network in peers.items():
        with seeded_rng(0, "weights", name):
            built[name] = GRAPH_MODELS.build(
                network.model, data.num_features, data.classes, network.arguments
            )
    cohort = Cohort(built, transfer)
    with seeded_rng(0, "transfer"), evaluating(cohort), torch.no_grad():
        cohort.transfer.prepare(cohort(data.graph))
    return cohort


def _count(calls: Counter[str], name: str, *_: object) -> None:
    calls[name] += 1
