"""Segmentation networks of two kinds as peers, on masks that overlap and on those that do not."""

import math

import pytest
import torch

from peerlearn import Cohort
from peerlearn.cohort import PeerLoss
from peerlearn.engine.monitor import EpochMonitor
from peerlearn.engine.steps import StepResult
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.segmentation.models.registry import SEGMENTATION_MODELS
from peerlearn.tasks.segmentation.objectives import Segmentation

SHAPE = (1, 17, 22)


def masks(overlapping: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (4, 3, *SHAPE[1:]), generator=generator).float()
    y[0, 1, 0] = math.nan
    return y if overlapping else y.sum(1).nan_to_num(-1).long().clamp_max(2)


@pytest.mark.parametrize("rows", ["all", "labelled", "unlabelled"])
@pytest.mark.parametrize("overlapping", [False, True])
def test_peers_of_two_kinds_teach_each_other(overlapping, rows):
    with seeded_rng(0):
        peers = {n: SEGMENTATION_MODELS.build(n, SHAPE, 3, {"width": 4}) for n in ("unet", "fpn")}
    x, y = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1)), masks(overlapping)
    loss = "bce+dice" if overlapping else "ce+dice"
    form = "sigmoid" if overlapping else "softmax"
    cohort = Cohort(peers, {"rows": rows}, Segmentation(loss=loss), form=form)
    losses = cohort.losses(cohort(x), y)
    for name, own in losses.items():
        others = [p for other, peer in peers.items() if other != name for p in peer.parameters()]
        assert own.transfer > 0
        grads = torch.autograd.grad(own.total, others, allow_unused=True, retain_graph=True)
        assert all(grad is None for grad in grads)
    cohort.loss(x, y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cohort.parameters())


@pytest.mark.parametrize("overlapping", [False, True])
def test_accuracy_of_training_counts_labelled_pixels(overlapping):
    """Half of the image is labelled; three quarters of that are right in every label."""
    z = torch.full((1, 3, 2, 8), -1.0)
    z[:, 0, :, :6], z[:, 1, :, 6:] = 1.0, 1.0
    if overlapping:
        y = torch.zeros(1, 3, 2, 8)
        y[:, 0], y[:, :, 1] = 1, math.nan
    else:
        y = torch.tensor([[[0] * 8, [-1] * 8]])
    monitor = EpochMonitor(["a"], torch.device("cpu"))
    losses = {"a": PeerLoss(torch.ones(()), torch.zeros(()))}
    monitor.add(0, StepResult(0, losses, {"a": z}, y, labelled_rows(y)))
    assert monitor.means(lambda sums: sums)["a"]["accuracy"] == 0.75
