"""From a configuration to peers that fit their data, with all that is wrong told at once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from peerlearn.cohort import Cohort, forward_peers
from peerlearn.data.info import DataInfo
from peerlearn.engine.pretrained import load_weights
from peerlearn.engine.settings import PeerSettings
from peerlearn.engine.stage import Plan, TrainingStage
from peerlearn.engine.task import BatchSizes
from peerlearn.errors import Faults, InputError
from peerlearn.models.bayesian import BayesianNetwork
from peerlearn.models.bayesian.posterior import is_random
from peerlearn.modes import evaluating
from peerlearn.objectives.base import Objective
from peerlearn.randomness import preserved_rng
from peerlearn.tasks.config import RecipeConfig
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import OutputForm, PeerOutput
from peerlearn.twins import said_of, twins

Data = TypeVar("Data")
FP32, INT64 = 4, 8
"""Bytes of a number."""


def load_data(
    config: RecipeConfig, load: Callable[[], Data], check_model: Callable[[str, str], None]
) -> Data:
    """The data of `config`; where they cannot be used, what else is wrong is told as well.

    `check_model` gets the name of a model and the field that holds it.

    Raises InputError: data that cannot be used, and then also unknown models and peers.
    """
    faults = Faults()
    with faults.gathered():
        return load()
    for name, peer in config.peers.items():
        with faults.gathered():
            check_model(peer.model, f"peers.{name}.model")
    with faults.gathered():
        TransferGraph(config.transfer, list(config.peers))
    raise faults.error()


def assemble(
    config: RecipeConfig,
    build_peer: Callable[[str], nn.Module],
    objective: Objective,
    form: OutputForm = "softmax",
) -> Cohort:
    """The peers of `config`, each with its network and the objective, and the edges between them.

    Raises InputError: lists every peer that cannot be built and what is wrong with the edges.
    """
    faults = Faults()
    peers: dict[str, nn.Module] = {}
    for name in config.peers:
        with faults.gathered():
            peers[name] = build_peer(name)
            if (spec := config.peers[name].bayesian) is not None:
                peers[name] = spec.around(peers[name], form, f"peers.{name}.bayesian")
    with faults.gathered():
        transfer = TransferGraph(config.transfer, list(config.peers), form)
    faults.check()
    return Cohort(peers, transfer, objective)


def load_initial_weights(cohort: Cohort, config: RecipeConfig) -> None:
    """Give peers the weights that their configuration names.

    A Bayesian peer takes those of a deterministic network as its means.

    Raises InputError: lists every file that cannot be read or does not fit.
    """
    faults = Faults()
    for name, peer in config.peers.items():
        if peer.weights is not None:
            with faults.gathered():
                path = Path(peer.weights).expanduser()
                load_weights(cohort.peers[name], path, f"peers.{name}.weights", may_lack=is_random)
    faults.check()


def have_posteriors(cohort: Cohort, config: RecipeConfig, rows: int) -> None:
    """Let Bayesian peers learn what posteriors pay over `rows` training rows, too.

    Priors that are around the weights of before are around those of now.
    """
    learning = dict(cohort.objectives)
    for name, peer in cohort.peers.items():
        if (spec := config.peers[name].bayesian) is not None:
            assert isinstance(peer, BayesianNetwork)
            peer.centre_prior()
            learning[name] = spec.learning(learning[name], rows)
    cohort.objectives = learning


def first_outputs(cohort: Cohort, x: Any, what: str) -> dict[str, PeerOutput]:
    """What every peer says of rows x, which are called `what`, before anything is trained.

    Raises InputError: a peer fails.
    """
    outputs: dict[str, PeerOutput] = {}
    with evaluating(cohort), torch.no_grad(), preserved_rng():
        for name, peer in cohort.peers.items():
            try:
                outputs |= forward_peers({name: peer}, x, cohort.trunk)
            except InputError:
                raise
            except Exception as error:  # the network may be anybody's code, and raise anything
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise InputError(f"peers.{name}: fails on {what}: {reason}") from error
    return outputs


def sizes_of_rows(config: RecipeConfig, info: DataInfo, pixels: int = 1) -> BatchSizes:
    """Sizes of batches of rows of one shape, with `pixels` labels each."""
    shape: tuple[int, ...] = getattr(info, "sample_shape", ())
    most = max(info.rows.values(), default=0)
    outputs = FP32 * info.classes * pixels
    return BatchSizes(
        min(config.batch_size, info.rows.get("train", most)),
        min(config.evaluation.batch_size, most),
        FP32 * math.prod(shape),
        outputs if info.multilabel else INT64 * pixels,
        outputs,
    )


def check_twins(cohort: Cohort, plan: Plan) -> None:
    """Refuse peers that begin with equal weights and are stepped alike in every stage.

    Raises InputError: names them.
    """
    for stage in plan.stages:
        if not isinstance(stage, TrainingStage) or stage.transfer or stage.objectives:
            return  # which may tell them apart
    stuck = []
    for pair in twins(cohort.peers, cohort.transfer):
        a, b = pair.split(" and ")
        settings = [
            plan.peers.get(name, PeerSettings()).model_copy(update={"weights": None})
            for name in (a, b)
        ]
        learning = [
            [name in plan.learners(number) for number in range(len(plan.stages))] for name in (a, b)
        ]
        alike = learning[0] == learning[1] and any(learning[0])
        if alike and _own(settings[0]) == _own(settings[1]):
            stuck += [pair] if cohort.objectives[a] == cohort.objectives[b] else []
    if stuck:
        raise InputError(said_of(stuck))


def _own(settings: PeerSettings) -> dict[str, Any]:
    """What a peer is told of its steps and its view, whatever network it has."""
    return {name: getattr(settings, name) for name in PeerSettings.model_fields}
