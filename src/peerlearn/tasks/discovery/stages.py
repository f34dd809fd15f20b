"""What a network goes through: rotations, known classes, then known and new ones together."""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.cohort import Cohort, forward_peers
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.precision import Precision
from peerlearn.engine.stage import Procedure, Stage, TrainingStage
from peerlearn.modes import evaluating
from peerlearn.objectives.base import Objective, PeerView, cross_entropy
from peerlearn.randomness import derive_seed
from peerlearn.tasks.discovery.config import DiscoveryConfig, PretrainingSpec
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset
from peerlearn.tasks.discovery.data.loaders import paired_loader, rotation_loader, supervised_loader
from peerlearn.tasks.discovery.networks import Branch, LinearHeads
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import PeerOutput

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


def discovery_stages(config: DiscoveryConfig, data: DiscoveryDataset) -> list[Stage]:
    """All stages of `config`; in the joint one the cohort's own edges and objectives are in force.

    Raises InputError: options that do not fit the data.
    """
    first = first_stages(config, data)
    if config.method == "kmeans":
        return [*first, Procedure("joint", partial(_put_clusters, config=config, data=data))]
    start = Procedure("start", partial(_start_as_the_first, config=config), learners=())
    versions, loader = 2 * config.copies * len(data.train), joint_loader(config, data)
    joint = TrainingStage("joint", config.epochs, loader, trunk=False, versions=versions)
    return [*first, start, joint]


def first_stages(config: DiscoveryConfig, data: DiscoveryDataset) -> list[Stage]:
    """The stages before the joint one, of the first peer and the trunk: the same in every arm.

    Raises InputError: options that do not fit the data.
    """
    names, augment = list(config.peers), config.augment.resolve(data)
    loading = config.batch_size, config.seed, augment
    rotation, supervised = config.stages.rotation, config.stages.supervised

    def stage(
        name: str, steps: PretrainingSpec, loader: BatchLoader, learnt: Objective, head: str
    ) -> TrainingStage:
        """Trains a head of the first peer, with its last stage and the trunk."""
        edges, objectives = TransferGraph("none", names), dict.fromkeys(names, learnt)
        made = TrainingStage(name, steps.epochs, loader, edges, objectives, names[:1], shared=True)
        return replace(made, trainable=("stage", "pool", head), steps=steps)

    stages: list[Stage] = []
    if rotation.epochs:
        loader = rotation_loader(data, *loading)
        stages.append(stage("rotation", rotation, loader, Rotations(), "rotation"))
    if supervised.epochs:
        fresh = not rotation.epochs and config.weights is None
        trunk = fresh if supervised.trunk is None else supervised.trunk
        loader, known = supervised_loader(data, *loading), KnownClasses(data.known)
        made = stage("supervised", supervised, loader, known, "heads.known")
        stages.append(replace(made, trunk=trunk))
    return stages


def joint_loader(config: DiscoveryConfig, data: DiscoveryDataset) -> BatchLoader:
    """Batches of labelled and unlabelled rows, each in two views.

    Raises InputError: options that do not fit the data.
    """
    loading = config.batch_size, config.seed, config.augment.resolve(data)
    return paired_loader(data, *loading, config.labelled_per_batch, config.copies)


def _start_as_the_first(cohort: Cohort, precision: Precision, config: DiscoveryConfig) -> None:
    """Branches start the joint stage with the last stage that the first one has trained.

    Those with weights of their own, and those that only teach, stay as they are.
    """
    (_, first), *others = cohort.peers.items()
    assert isinstance(first, Branch)
    for name, other in others:
        assert isinstance(other, Branch)
        peer = config.peers[name]
        if not peer.frozen and peer.weights is None:
            other.start_from(first)
    for branch in cohort.peers.values():
        if isinstance(branch.heads, LinearHeads):
            branch.heads.join()


def _put_clusters(
    cohort: Cohort, precision: Precision, config: DiscoveryConfig, data: DiscoveryDataset
) -> None:
    """k-means of every peer's pooled features of unlabelled rows, put into its heads."""
    from sklearn.cluster import KMeans

    _start_as_the_first(cohort, precision, config)
    for name, peer in cohort.peers.items():
        assert isinstance(peer, Branch) and isinstance(peer.heads, LinearHeads)
        features = pooled_features(cohort, name, data, data.unlabelled)
        count, seed = peer.heads.new.out_features, derive_seed(config.seed, "kmeans") % 2**32
        means = KMeans(count, n_init=STARTS, random_state=seed).fit(features.double().numpy())
        peer.heads.assign_to(torch.from_numpy(means.cluster_centers_).to(features))


def pooled_features(
    cohort: Cohort, peer: str, data: DiscoveryDataset, rows: Tensor, batch_size: int = 512
) -> Tensor:
    """What a peer makes of training rows, (N, D) on the CPU, in evaluation mode and fp32.

    `rows` (N,) are positions in train.
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
