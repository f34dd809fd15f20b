"""peerlearn's side: cohorts in its engine. A graph is one batch, so that a step is an epoch."""

import itertools
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import torch
from measuring import Work
from peers import ADAM, LR, MUTUAL, Peers

from peerlearn.cohort import Cohort
from peerlearn.data.graphs import NodeDataset, NodeLoader, node_rows
from peerlearn.engine.evaluate import assessed, predict
from peerlearn.engine.modes import evaluating
from peerlearn.engine.optimisers import LearningRate, OptimiserSpec
from peerlearn.engine.precision import Precision
from peerlearn.engine.settings import EvaluationSpec, TrainingSpec
from peerlearn.engine.stage import Stage
from peerlearn.engine.steps import Clock, Stepper
from peerlearn.engine.trainer import Trainer
from peerlearn.engine.transports import LocalTransport
from peerlearn.engine.updates import PeerUpdate
from peerlearn.metrics.assessment import ClassificationAssessment
from peerlearn.models.graphs import build_graph_model
from peerlearn.randomness import seeded_rng

FP32 = Precision(torch.device("cpu"), bf16=False, channels_last=False)
OPTIMISER = OptimiserSpec.model_validate({"name": "adam", **ADAM})


class Engine(NamedTuple):
    """A cohort, one epoch of its training, and one validation of it."""

    cohort: Cohort
    epoch: Work
    validate: Work


def engine(peers: Peers, data: NodeDataset, transfer: Any = MUTUAL) -> Engine:
    """The engine's own step over `peers` on the whole graph."""
    cohort = _cohort(peers, data, transfer).train()
    updates = {
        name: PeerUpdate(
            peer,
            OPTIMISER,
            LR,
            LearningRate(kind="constant"),
            extra=cohort.transfer.parameters_of(name),
        )
        for name, peer in cohort.peers.items()
    }
    stepper = Stepper(cohort, updates, FP32, LocalTransport(cohort.names), {}, cohort.names)
    loader, rows = NodeLoader(data), node_rows(data, "val")
    numbers = itertools.count()

    def epoch() -> None:
        stepper.step(list(loader.epoch(0)), Clock(0, "mutual", next(numbers), 0.5))

    def validate() -> None:
        assessed(predict(dict(cohort.peers.items()), rows, FP32), ClassificationAssessment())

    return Engine(cohort, epoch, validate)


def epoch_of(peers: Peers, data: NodeDataset, transfer: Any = MUTUAL) -> Work:
    """One epoch of training."""
    return engine(peers, data, transfer).epoch


def training(peers: Peers, data: NodeDataset, epochs: int) -> Work:
    """A whole `Trainer.run` that validates after every epoch and keeps the best weights."""
    cohort = _cohort(peers, data, MUTUAL)
    spec = TrainingSpec(
        epochs=epochs,
        lr=LR,
        optimiser=OPTIMISER,
        lr_schedule=LearningRate(kind="constant"),
        precision="fp32",
        device="cpu",
        evaluation=EvaluationSpec(select="best"),
    )
    stage, rows = Stage("mutual", epochs, NodeLoader(data)), node_rows(data, "val")
    return lambda: Trainer(cohort, [stage], spec, validation=rows).run()


def forwards_per_step(peers: Peers, data: NodeDataset) -> dict[str, int]:
    """Training forwards of each network in one step, counted at the networks themselves."""
    cohort, epoch, _ = engine(peers, data)
    calls: Counter[str] = Counter()
    for name, peer in cohort.peers.items():
        peer.register_forward_hook(partial(_count, calls, name))
    epoch()
    return dict(calls)


def parameters(peers: Peers, data: NodeDataset) -> int:
    """Number of weights of all networks."""
    return sum(p.numel() for p in _cohort(peers, data, "none").peers.parameters())


def _cohort(peers: Peers, data: NodeDataset, transfer: Any) -> Cohort:
    built = {}
    for name, network in peers.items():
        with seeded_rng(0, "weights", name):
            built[name] = build_graph_model(
                network.model, data.num_features, data.classes, network.arguments
            )
    cohort = Cohort(built, transfer)
    with seeded_rng(0, "transfer"), evaluating(cohort), torch.no_grad():
        cohort.transfer.prepare(cohort(data.graph))
    return cohort


def _count(calls: Counter[str], name: str, *_: object) -> None:
    calls[name] += 1
