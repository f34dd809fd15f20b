"""Small Bayesian peers, and cohorts of them."""

from typing import Any

import torch
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.models import build_model
from peerlearn.models.bayesian import BayesianNetwork, to_bayesian
from peerlearn.randomness import seeded_rng
from peerlearn.transfer import PeerOutput

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


class Small(nn.Module):
    """Two layers, the first of which names its feature."""

    def __init__(self, hidden: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(5, hidden)
        self.head = nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> PeerOutput:
        hidden = self.first(x).relu()
        return PeerOutput(self.head(hidden), {"input": x, "hidden": hidden})


def bayesian(seed: int = 0, hidden: int = 4, std: float = 0.05, **options: Any) -> BayesianNetwork:
    """A peer whose σ differ from weight to weight."""
    with seeded_rng(seed):
        net = to_bayesian(Small(hidden), std=std, **options)
        peer = BayesianNetwork(net)
        with torch.no_grad():
            for rho in peer.rhos():
                rho.add_(0.1 * torch.randn_like(rho))
    return peer


def pair(transfer: Any, **peers: nn.Module) -> Cohort:
    """A cohort of Bayesian peers `a` and `b` unless others are given, its edges prepared."""
    with seeded_rng(0):
        cohort = Cohort(peers or {"a": bayesian(0), "b": bayesian(1)}, transfer)
        cohort.transfer.prepare(cohort(X), cohort.peers)
    return cohort


def taught(cohort: Cohort, **more: Any) -> dict[str, torch.Tensor]:
    """The transfer loss of every peer for the batch."""
    with seeded_rng(0):
        outputs = cohort(X)
    return cohort.transfer.losses(outputs, Y, peers=cohort.peers, **more)


def bayesian_cnn(in_shape: tuple[int, ...], classes: int) -> BayesianNetwork:
    """A narrow peer with maps, for `peers.NAME.model: python:tiny_posteriors:bayesian_cnn`."""
    net = to_bayesian(build_model("cnn", in_shape, classes, {"width": 0.125}))
    return BayesianNetwork(net, test_samples=2)
