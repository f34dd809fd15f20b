"""What a network goes through: rotations, known classes, then known and new ones together."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.cohort import Cohort, forward_peers
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.loaders import evaluation_batches
from peerlearn.data.spec import AugmentSpec
from peerlearn.engine.precision import Precision
from peerlearn.engine.stage import Procedure, Stage, TrainingStage
from peerlearn.modes import evaluating
from peerlearn.objectives.base import Objective, PeerView, cross_entropy
from peerlearn.randomness import derive_seed
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data import (
    DiscoveryDataset,
    paired_loader,
    rotation_loader,
    supervised_loader,
)
from peerlearn.tasks.discovery.models import Branch, LinearHeads
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import PeerOutput

#: Parts of a branch that both stages before the joint one train, beside a head each.
LAST_STAGE = ("stage", "pool")
STARTS = 10
"""Of k-means; the tightest clusters count."""


@dataclass(frozen=True)
class Rotations(Objective):
    """Cross-entropy of which way up an image is (RotNet, Gidaris et al. 2018)."""

    def loss(self, view: PeerView) -> Tensor:
        return F.cross_entropy(self.scored(view.output).float(), view.targets)

    def scored(self, output: PeerOutput) -> Tensor:
        """The logits that targets are about."""
        return output.features["rotation"]


@dataclass(frozen=True)
class KnownClasses(Objective):
    """Cross-entropy of the known classes, which come first among the logits."""

    known: int

    def loss(self, view: PeerView) -> Tensor:
        return cross_entropy(self.scored(view.output), *view.labels())

    def scored(self, output: PeerOutput) -> Tensor:
        """The logits that targets are about."""
        return output.logits[:, : self.known]


def discovery_stages(
    config: DiscoveryConfig, data: DiscoveryDataset, augment: AugmentSpec
) -> list[Stage]:
    """All stages of `config`; in the joint one the cohort's own edges and objectives are in force.

    Raises:
        InputError: options that do not fit the data.
    """
    first = first_stages(config, data, augment)
    if config.method == "kmeans":
        return [*first, Procedure("joint", Clusters(data, config))]
    start = partial(start_as_the_first, keep=starting_elsewhere(config))
    versions, loader = 2 * config.copies * len(data.train), joint_loader(config, data, augment)
    joint = TrainingStage("joint", config.epochs, loader, trunk=False, versions=versions)
    return [*first, Procedure("start", start, learners=()), joint]


def first_stages(
    config: DiscoveryConfig, data: DiscoveryDataset, augment: AugmentSpec
) -> list[Stage]:
    """The stages before the joint one, of the first peer and the trunk: the same in every arm.

    Raises:
        InputError: options that do not fit the data.
    """
    names = list(config.peers)
    silent = TransferGraph("none", names)
    loading = (config.batch_size, config.seed, augment)
    rotation, supervised = config.stages.rotation, config.stages.supervised
    stages: list[Stage] = []
    if rotation.epochs:
        stages.append(
            TrainingStage(
                "rotation",
                rotation.epochs,
                rotation_loader(data, *loading),
                silent,
                dict.fromkeys(names, Rotations()),
                learners=names[:1],
                trainable=(*LAST_STAGE, "rotation"),
                steps=rotation,
                shared=True,
            )
        )
    if supervised.epochs:
        fresh = not rotation.epochs and config.weights is None
        stages.append(
            TrainingStage(
                "supervised",
                supervised.epochs,
                supervised_loader(data, *loading),
                silent,
                dict.fromkeys(names, KnownClasses(data.known)),
                learners=names[:1],
                trunk=fresh if supervised.trunk is None else supervised.trunk,
                trainable=(*LAST_STAGE, "heads.known"),
                steps=supervised,
                shared=True,
            )
        )
    return stages


def joint_loader(
    config: DiscoveryConfig, data: DiscoveryDataset, augment: AugmentSpec
) -> BatchLoader:
    """Batches of labelled and unlabelled rows, each in two views.

    Raises:
        InputError: options that do not fit the data.
    """
    return paired_loader(
        data,
        config.batch_size,
        config.seed,
        augment,
        labelled_per_batch=config.labelled_per_batch,
        copies=config.copies,
    )


def start_as_the_first(
    cohort: Cohort, precision: Precision | None = None, keep: Collection[str] = ()
) -> None:
    """Branches start the joint stage with the last stage that the first one has trained.

    Args:
        cohort: of branches.
        precision: of the run; weights are copied whatever it is.
        keep: peers that stay as they are.
    """
    (_, first), *others = cohort.peers.items()
    assert isinstance(first, Branch)
    for name, other in others:
        assert isinstance(other, Branch)
        if name not in keep:
            other.start_from(first)
    for _, branch in cohort.peers.items():
        if isinstance(branch.heads, LinearHeads):
            branch.heads.join()


def starting_elsewhere(config: DiscoveryConfig) -> list[str]:
    """Peers with weights of their own, and those that only teach, as they are."""
    return [n for n, peer in config.peers.items() if peer.frozen or peer.weights is not None]


@dataclass(frozen=True)
class Clusters:
    """k-means of every peer's pooled features of unlabelled rows, put into its heads."""

    data: DiscoveryDataset
    config: DiscoveryConfig

    def __call__(self, cohort: Cohort, precision: Precision) -> None:
        from sklearn.cluster import KMeans

        start_as_the_first(cohort, precision, starting_elsewhere(self.config))
        for name, peer in cohort.peers.items():
            assert isinstance(peer, Branch) and isinstance(peer.heads, LinearHeads)
            features = pooled_features(cohort, name, self.data, self.data.unlabelled)
            means = KMeans(
                peer.heads.new.out_features,
                n_init=STARTS,
                random_state=derive_seed(self.config.seed, "kmeans") % 2**32,
            )
            means.fit(features.double().numpy())
            peer.heads.assign_to(torch.from_numpy(means.cluster_centers_).to(features))


def pooled_features(
    cohort: Cohort, peer: str, data: DiscoveryDataset, rows: Tensor, batch_size: int = 512
) -> Tensor:
    """What a peer makes of training rows, in evaluation mode and fp32.

    Shapes:
        rows: (N,), positions in train; result: (N, D), on the CPU.
    """
    asked = {peer: cohort.peers[peer]}
    device = next(cohort.peers[peer].parameters()).device
    parts = []
    with evaluating(cohort), torch.no_grad():
        split = data.train.select(rows)
        for x, _ in evaluation_batches(split, batch_size, data.mean, data.std):
            output = forward_peers(asked, x.to(device), cohort.trunk)[peer]
            parts.append(output.features["pooled"].float().cpu())
    return torch.cat(parts)
