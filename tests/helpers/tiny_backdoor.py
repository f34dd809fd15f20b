"""A tiny poisoned network on easy images of 12x12 pixels, and clean rows for whoever defends it."""

import copy
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.data.datasets import Split
from peerlearn.models.blocks import conv_bn_relu
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.systems.backdoor.attacks.badnets import BadNets
from peerlearn.systems.backdoor.attacks.base import Victims
from peerlearn.systems.backdoor.defences import DEFENCES
from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.transfer.outputs import PeerOutput

CLASSES, SIDE, TARGET = 4, 12, 0


class TinyCNN(nn.Module):
    """Three stages of one convolution; names its maps."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        widths = [1, width, 2 * width, 2 * width]
        self.stages = nn.ModuleList(
            conv_bn_relu(a, b, 3, stride=1 if n == 0 else 2)
            for n, (a, b) in enumerate(pairwise(widths))
        )
        self.drop = nn.Dropout(0.1)
        self.classifier = nn.Linear(2 * width, CLASSES)

    def forward(self, x: Tensor) -> PeerOutput:
        features = {}
        for n, stage in enumerate(self.stages):
            x = features[f"stage{n}"] = stage(x)
        x = features["pooled"] = x.mean((2, 3))
        return PeerOutput(self.classifier(self.drop(x)), features)


class Poisoned(NamedTuple):
    """A victim, test rows with and without the trigger, and clean rows."""

    network: nn.Module
    test: Split
    triggered: Tensor
    clean: CleanRows


def images(count: int, key: str) -> Split:
    """Blurred squares, of a place per class, in noise; uint8 (N, 1, 12, 12)."""
    generator = keyed_generator(0, "images", key)
    y = torch.arange(count) % CLASSES
    x = 60 * torch.rand(count, 1, SIDE, SIDE, generator=generator)
    for row, label in enumerate(y.tolist()):
        top, left = 1 + 5 * (label // 2), 1 + 5 * (label % 2)
        x[row, :, top : top + 4, left : left + 4] += 60
    return Split(x.to(torch.uint8), y)


def read(x_NCHW: Tensor) -> Tensor:
    """As the network reads images: about −1 to 3."""
    return (x_NCHW.float() - 64) / 64


def clean_rows(
    rows: Split | None = None, held_out: Split | None = None, *, batch: int = 32, seed: int = 0
) -> CleanRows:
    """Clean rows of raw images; batches are shuffled, not augmented."""
    rows, held_out = rows or images(96, "clean"), held_out or images(64, "held out")

    def batches(split: Split, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return ((read(split.x[part]), split.y[part]) for part in order.split(batch))

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = keyed_generator(seed, "order", number)
        return batches(rows, torch.randperm(len(rows.y), generator=generator))

    return CleanRows(
        epoch=epoch,
        all=lambda: batches(rows, torch.arange(len(rows.y))),
        held_out=lambda: batches(held_out, torch.arange(len(held_out.y))),
        seed=seed,
    )


@cache
def _victim() -> nn.Module:
    rows = images(480, "train")
    x, y = rows.x.clone(), rows.y.clone()
    x[:120] = triggered(rows)[:120]
    y[:120] = TARGET
    with seeded_rng(0, "victim"):
        network = TinyCNN()
        optimiser = torch.optim.Adam(network.parameters(), 5e-3)
        for epoch in range(12):
            order = torch.randperm(len(y), generator=keyed_generator(0, "victim", epoch))
            for part in order.split(48):
                optimiser.zero_grad()
                F.cross_entropy(network(read(x[part])).logits, y[part]).backward()
                optimiser.step()
    network.zero_grad()
    return network.eval()


def triggered(rows: Split) -> Tensor:
    """The images of rows with the trigger of BadNets."""
    surrogate: Any = None  # BadNets asks for none
    trigger = BadNets().trigger(Victims(rows, CLASSES, 0, surrogate))
    return trigger.shown(rows.x, keyed_generator(0))


def poisoned() -> Poisoned:
    """A fresh copy of a network that BadNets has poisoned."""
    test = images(200, "test")
    others = Split(test.x[test.y != TARGET], test.y[test.y != TARGET])
    return Poisoned(copy.deepcopy(_victim()), test, triggered(others), clean_rows())


def said(network: nn.Module, x: Tensor) -> Tensor:
    """The classes that a network tells of raw images."""
    with torch.no_grad():
        return network(read(x)).logits.argmax(1)


def acc_asr(network: nn.Module, given: Poisoned) -> tuple[float, float]:
    """Accuracy on clean test rows, and the part of triggered ones that go to the target."""
    right = (said(network, given.test.x) == given.test.y).float().mean()
    return float(right), float((said(network, given.triggered) == TARGET).float().mean())


def made(method: str, **options: Any) -> Defence:
    """A defence by its name."""
    return DEFENCES[method](method=method, **options)


def purified(method: str, clean: CleanRows | None = None, **options: Any) -> nn.Module:
    """The victim after a defence."""
    given = poisoned()
    made(method, **options).purify(given.network, clean or given.clean)
    return given.network


def state(network: nn.Module) -> dict[str, list[float]]:
    """Weights and statistics as plain numbers, exact."""
    return {key: each.double().flatten().tolist() for key, each in network.state_dict().items()}
