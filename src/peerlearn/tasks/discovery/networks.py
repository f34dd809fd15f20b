"""The trunk and the branches of a configuration."""

from pathlib import Path

import torch
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.engine.pretrained import load_weights
from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.modes import evaluating
from peerlearn.randomness import preserved_rng, seeded_rng
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.models import Branch, LinearHeads, Trunk, UnoHeads
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective, DiscoverySpec
from peerlearn.tasks.discovery.objectives.uno import UnoObjective
from peerlearn.transfer.graph import TransferGraph
from peerlearn.validation import validated


def build_discovery_cohort(config: DiscoveryConfig, shape: Shape, known: int, new: int) -> Cohort:
    """Branches on a trunk, with keyed initial weights; all last stages start as one.

    Raises:
        InputError: a network that cannot be built or divided, weights that do not fit it, or
            edges that do not fit the peers.
    """
    first = next(iter(config.peers))
    backbone = _backbone(config, first, shape, known)
    trunk = Trunk(backbone)
    width = backbone.classifier.in_features
    branches: dict[str, Branch] = {}
    for name in sorted(config.peers, key=lambda n: config.peers[n].fed_by is not None):
        feeder = config.peers[name].fed_by
        with seeded_rng(config.seed, "weights", name):
            heads = _heads(config, width, known, new)
        fed_by = branches[feeder] if feeder is not None else None
        # Apart from the heads, whose draws depend on how many classes are new.
        with seeded_rng(config.seed, "weights", name, "rotation"):
            branches[name] = Branch(backbone, heads, fed_by)
    peers = {name: branches[name] for name in config.peers}
    channels = _channels(trunk, branches[first], shape)
    objectives = {
        name: _objective(config, name, branch, known, channels) for name, branch in peers.items()
    }
    return Cohort(peers, TransferGraph(config.transfer, list(peers)), objectives, trunk)


def _backbone(config: DiscoveryConfig, first: str, shape: Shape, known: int) -> Backbone:
    peer, field = config.peers[first], f"peers.{first}.model"
    with seeded_rng(config.seed, "weights", "trunk"):
        network = MODELS.build(peer.model, shape, known, peer.arguments, field)
    if not isinstance(network, Backbone) or len(network.stages) < 2:
        raise InputError(
            f"{field}: {peer.model!r} cannot be divided into a trunk and branches; choose a "
            "network of two stages or more, such as cnn or resnet18"
        )
    if config.weights is not None:
        load_weights(network, Path(config.weights).expanduser(), "weights", skip=("classifier.",))
    return network


def _channels(trunk: Trunk, branch: Branch, shape: Shape) -> int:
    """Of the last stage's maps, which are those of the pooled vector unless layers follow."""
    with evaluating(trunk), evaluating(branch), torch.no_grad(), preserved_rng():
        return branch.stage(trunk(torch.zeros(1, *shape))).shape[1]


def _heads(config: DiscoveryConfig, width: int, known: int, new: int) -> nn.Module:
    if config.method != "uno":
        return LinearHeads(width, known, new, config.incremental)
    spec = config.uno
    return UnoHeads(
        width,
        known,
        new,
        heads=spec.heads,
        over_factor=spec.over_factor,
        hidden=spec.hidden,
        projected=spec.projected,
        temperature=spec.temperature,
    )


def _objective(
    config: DiscoveryConfig, name: str, branch: Branch, known: int, channels: int
) -> DiscoveryObjective | UnoObjective:
    if config.method == "uno":
        assert isinstance(branch.heads, UnoHeads)
        return UnoObjective(config.uno, known, branch.heads.record)
    compares = config.peers[name].compares
    spec = config.objective
    if compares is not None:
        spec = validated(DiscoverySpec, spec.model_dump() | {"of": compares}, "objective")
    return DiscoveryObjective(spec, known, channels=channels, seed=config.seed)
