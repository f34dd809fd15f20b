"""The loop that defences share, and how they look at a network."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from tiny_backdoor import CLASSES, SIDE, clean_rows, poisoned, state
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.systems.backdoor.defences.tuning import (
    accuracy,
    cosine,
    cross_entropy,
    fine_tune,
    is_within,
    last_linear,
    output,
)


def test_it_is_sgd_with_momentum_decay_and_a_cosine_over_epochs() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
    expected, clean = copy.deepcopy(network), clean_rows()
    fine_tune(network, clean, epochs=3, lr=0.1)
    velocity = [torch.zeros_like(weight) for weight in expected.parameters()]
    for epoch in range(3):
        lr = 0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2
        for x, y in clean.epoch(epoch):
            weights = list(expected.parameters())
            gradients = torch.autograd.grad(F.cross_entropy(expected(x), y), weights)
            with torch.no_grad():
                for weight, gradient, v in zip(weights, gradients, velocity, strict=True):
                    v.mul_(0.9).add_(gradient + 5e-4 * weight)
                    weight.sub_(lr * v)
    for found, wanted in zip(network.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_the_cosine_starts_at_one_and_would_end_at_zero() -> None:
    assert cosine(0, 4) == 1
    assert cosine(2, 4) == pytest.approx(0.5)
    assert cosine(4, 4) == pytest.approx(0)


def test_loss_step_schedule_and_what_follows_a_step_are_the_callers() -> None:
    network, seen = poisoned().network, []
    before = state(network)

    def step(optimiser: torch.optim.Optimizer, loss: object) -> None:
        assert network.training
        seen.append((optimiser.param_groups[0]["lr"], float(loss())))

    fine_tune(
        network,
        clean_rows(),
        epochs=2,
        lr=0.1,
        loss=lambda x, y: torch.tensor(5.0),
        step=step,
        after_step=lambda: seen.append("after"),
        schedule=lambda epoch, epochs: 1 / (1 + epoch),
    )
    assert seen == 3 * [(0.1, 5.0), "after"] + 3 * [(0.05, 5.0), "after"]
    assert state(network) == before
    assert not network.training, "modes come back"


def test_label_smoothing_is_of_the_loss() -> None:
    network = poisoned().network
    x, y = next(clean_rows().all())
    expected = F.cross_entropy(network(x).logits, y, label_smoothing=0.1)
    assert torch.equal(cross_entropy(network, 0.1)(x, y), expected)
    assert not torch.equal(cross_entropy(network)(x, y), expected)


def test_accuracy_counts_rows_in_evaluation_mode() -> None:
    network, clean = poisoned().network.train(), clean_rows(batch=40)  # 40 rows and then 24
    before = state(network)
    pairs = [(x, y.where(torch.arange(len(y)) % 4 > 0, (y + 1) % CLASSES)) for x, y in clean.all()]
    assert accuracy(network, iter(pairs)) == pytest.approx(0.75, abs=0.02)
    assert network.training and state(network) == before
    with pytest.raises(InputError, match="no clean rows are held out"):
        accuracy(network, iter([]))


@pytest.mark.parametrize(
    ("found", "before", "tolerance", "within"),
    [
        (0.9, 1.0, 0.1, True),
        (0.72, 0.8, 0.1, True),
        (0.719, 0.8, 0.1, False),
        (0.71, 0.8, 0.2, True),
        (0.85, 0.8, 0.0, True),
    ],
)
def test_the_tolerance_is_a_part_of_what_was(
    found: float, before: float, tolerance: float, within: bool
) -> None:
    assert is_within(found, before, tolerance) is within


class Heads(nn.Module):
    """Linear layers that are registered in another order than they are called in."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.classifier = nn.Linear(8, CLASSES)
        self.unused = nn.Linear(8, CLASSES)
        self.body = nn.Linear(SIDE * SIDE, 8)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.classifier(self.body(x.flatten(1))).log_softmax(1)


def test_the_last_linear_layer_is_the_one_that_tells_the_classes() -> None:
    network, victim = Heads(), poisoned().network
    assert last_linear(network, clean_rows(), "fst") is network.classifier
    assert last_linear(victim, clean_rows(), "fst") is victim.get_submodule("classifier")
    assert not any(part._forward_hooks for part in network.modules())


@pytest.mark.parametrize(
    "network",
    [
        Heads(-1.0),
        nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2 * CLASSES), nn.GLU()),
        nn.Sequential(nn.Conv2d(1, CLASSES, SIDE), nn.Flatten()),
    ],
    ids=["told upside down", "halved", "convolution"],
)
def test_what_is_not_told_as_the_last_layer_has_it_is_no_classifier(network: nn.Module) -> None:
    with pytest.raises(InputError, match=r"'fst': needs a network whose logits come from an nn\.L"):
        last_linear(network, clean_rows(), "fst")


class Lists(nn.Module):
    """Gives no tensor."""

    def forward(self, x: Tensor) -> list[float]:
        return x.flatten().tolist()


def test_output_reads_what_networks_give() -> None:
    x = torch.ones(2, 3)
    assert torch.equal(output(nn.Identity(), x).logits, x)
    with pytest.raises(InputError, match="forward returned list"):
        output(Lists(), x)
