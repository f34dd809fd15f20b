"""Branches on a common trunk, with heads for what is known and what is new.

Zhao & Han, "Novel Visual Category Discovery with Dual Ranking Statistics and Mutual Knowledge
Distillation", NeurIPS 2021, section 3.1; with one branch, Han et al., "Automatically Discovering
and Learning New Visual Categories with Ranking Statistics", ICLR 2020.

Shape suffixes: B rows, D features of the pooled vector, H heads.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.pretrained import load_weights
from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.models.backbone import Backbone, Shape, initialise
from peerlearn.modes import evaluating
from peerlearn.randomness import preserved_rng, seeded_rng
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data.loaders import ROTATIONS
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective, DiscoverySpec
from peerlearn.tasks.discovery.objectives.uno import UnoObjective
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.validation import validated

RECORD = 0.99
"""Of the running loss of a head, what remains of it after one step."""


class Trunk(nn.Module):
    """The stem and every stage of a backbone but the last."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.stem = backbone.stem
        self.stages = nn.ModuleDict(dict(list(backbone.stages.items())[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        return x


class LinearHeads(nn.Module):
    """A linear classifier of the known classes and one of the new.

    With `incremental`, that of the known classes has outputs for the new ones too, as in
    AutoNovel's incremental form, and gets their labels from the other one.

    Shapes:
        input: (B, D)
        logits: (B, known + new)
        features: with `incremental`, `clusters` (B, new), the logits of the other classifier.
    """

    def __init__(self, features: int, known: int, new: int, incremental: bool = False) -> None:
        super().__init__()
        # One after the other, so that the known classes start alike however many are new.
        self.known = _linear(features, known)
        self.new = _linear(features, new)
        self.joined = _linear(features, new) if incremental else None

    def forward(self, pooled_BD: Tensor) -> PeerOutput:
        known, new = self.known(pooled_BD), self.new(pooled_BD)
        if self.joined is None:
            return PeerOutput(torch.cat([known, new], 1))
        return PeerOutput(torch.cat([known, self.joined(pooled_BD)], 1), {"clusters": new})

    @torch.no_grad()
    def join(self) -> None:
        """Begin with new classes less likely than any known one, by a bias of one below theirs."""
        if self.joined is not None:
            self.joined.bias.fill_(self.known.bias.min() - 1)

    @torch.no_grad()
    def assign_to(self, centres_ND: Tensor) -> None:
        """Make the new classes those of the nearest centre.

        The nearest of N centres c has the largest 2⟨x, c⟩ − ‖c‖², which is linear in x.
        """
        self.new.weight.copy_(2 * centres_ND)
        self.new.bias.copy_(-centres_ND.square().sum(1))


class Prototypes(nn.Module):
    """Cosine / temperature between a row (B, D) and each of `count` learned directions.

    The authors of UNO scale weights to norm 1 before every step; here the forward does, so that
    weights may have any norm and no step is special.
    """

    def __init__(self, features: int, count: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = nn.Parameter(torch.empty(count, features))
        nn.init.normal_(self.weight, std=features**-0.5)

    def forward(self, x_BD: Tensor) -> Tensor:
        cosines = F.linear(F.normalize(x_BD, dim=1), F.normalize(self.weight, dim=1))
        return cosines / self.temperature


class UnoHeads(nn.Module):
    """Prototypes of the known classes, H heads for the new ones, H heads of more clusters.

    Prototypes lie on the unit sphere, those of new classes behind projectors (Fini et al., "A
    Unified Objective for Novel Class Discovery", ICCV 2021). Logits of new classes are those of the
    head with the lowest loss so far, by a running mean of what `record` was told; the first head
    before that. Options are those of `UnoSpec`.

    Shapes:
        input: (B, features), which the known classes' prototypes read too.
        logits: (B, known + new)
        features: `heads` (B, H, new), `over` (B, H, over_factor · new)
    """

    losses: Tensor

    def __init__(
        self,
        features: int,
        known: int,
        new: int,
        *,
        heads: int = 4,
        over_factor: int = 3,
        hidden: int = 2048,
        projected: int = 256,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()

        def head(clusters: int) -> nn.Sequential:
            projector = nn.Sequential(
                nn.Linear(features, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, projected),
            )
            return nn.Sequential(projector, Prototypes(projected, clusters, temperature))

        over, more = heads if over_factor else 0, over_factor * new
        self.known = Prototypes(features, known, temperature)
        self.heads = nn.ModuleList(head(new) for _ in range(heads))
        self.over = nn.ModuleList(head(more) for _ in range(over))
        self.register_buffer("losses", torch.zeros(heads))

    def forward(self, pooled_BD: Tensor) -> PeerOutput:
        heads_BHN = torch.stack([head(pooled_BD) for head in self.heads], 1)
        features = {"heads": heads_BHN}
        if self.over:
            features["over"] = torch.stack([head(pooled_BD) for head in self.over], 1)
        # Selected by a tensor, so that nothing waits for it.
        best_BN = heads_BHN.index_select(1, self.losses.argmin().view(1)).squeeze(1)
        return PeerOutput(torch.cat([self.known(pooled_BD), best_BN], 1), features)

    @torch.no_grad()
    def record(self, losses_H: Tensor) -> None:
        """Tell the loss of every head at a step; nothing happens in evaluation mode."""
        if self.training:
            self.losses.lerp_(losses_H.to(self.losses), 1 - RECORD)


class Branch(nn.Module):
    """A last stage of its own on a shared trunk, with heads for what is known and what is new.

    Args:
        backbone: of whose last stage, and pool, this branch takes copies.
        heads: from the pooled vector to logits, and features of its own.
        fed_by: a branch whose pooled vector the heads read in place of their own, as those of the
            local branch do in the authors' code; its parameters stay that branch's.

    Shapes:
        input: what `Trunk` gives for B rows.
        logits: (B, known + new)
        features: `map`, the output of the last stage; `pooled` (B, D); `rotation` (B, 4); and what
            the heads give.
    """

    def __init__(
        self, backbone: Backbone, heads: nn.Module, fed_by: "Branch | None" = None
    ) -> None:
        super().__init__()
        self.stage = copy.deepcopy(list(backbone.stages.values())[-1])
        self.pool = copy.deepcopy(backbone.pool)
        self.heads = heads
        self.rotation = _linear(backbone.classifier.in_features, ROTATIONS)
        self._fed_by = (fed_by,)  # in a tuple, so that it is not registered here too

    def forward(self, shared: Tensor) -> PeerOutput:
        last = self.stage(shared)
        pooled = self.pool(last)
        (feeder,) = self._fed_by
        read = pooled if feeder is None else feeder.pool(feeder.stage(shared))
        output = self.heads(read)
        own = {"rotation": self.rotation(pooled), "map": last, "pooled": pooled}
        return PeerOutput(output.logits, output.features | own)

    def start_from(self, other: "Branch") -> None:
        """Take the last stage and pool of another branch, and its head for the known classes."""
        self.stage.load_state_dict(other.stage.state_dict())
        self.pool.load_state_dict(other.pool.state_dict())
        known, theirs = (heads.get_submodule("known") for heads in (self.heads, other.heads))
        known.load_state_dict(theirs.state_dict())


def _linear(features: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(features, outputs)
    initialise(layer, layer)
    return layer


def build_discovery_cohort(config: DiscoveryConfig, shape: Shape, known: int, new: int) -> Cohort:
    """Branches on a trunk, with keyed initial weights; all last stages start as one.

    Raises InputError: a network that cannot be built or divided, weights that do not fit it, or
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
    # Of the last stage's maps, which are those of the pooled vector unless layers follow.
    with evaluating(trunk), evaluating(branches[first]), torch.no_grad(), preserved_rng():
        channels = branches[first].stage(trunk(torch.zeros(1, *shape))).shape[1]
    peers = {name: branches[name] for name in config.peers}
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


def _heads(config: DiscoveryConfig, width: int, known: int, new: int) -> nn.Module:
    if config.method != "uno":
        return LinearHeads(width, known, new, config.incremental)
    of_targets = {"epsilon", "iterations"}
    return UnoHeads(width, known, new, **config.uno.model_dump(exclude=of_targets))


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
