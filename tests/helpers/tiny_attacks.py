"""Tiny images for attacks, and networks of an attacker that need no training."""

from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.data.datasets import Dataset, Split
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.systems.backdoor.attacks import ATTACKS
from peerlearn.systems.backdoor.attacks.base import Attack, Victims
from peerlearn.systems.backdoor.attacks.poisoning import Poisoned, poison
from peerlearn.systems.backdoor.choice import chosen_by

CLASSES = 3


def small_images(rows: int = 60, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0) -> Dataset:
    """Images of three classes, each brighter than the one before, far from 0 and 255."""
    parts = {}
    for part in ("train", "val", "test"):
        noise = torch.randint(40, (rows, *shape), generator=keyed_generator(seed, part))
        y = torch.arange(rows) % CLASSES
        x = 60 + 40 * y.view(-1, *[1] * len(shape)) + noise
        parts[part] = Split(x.to(torch.uint8), y)
    return Dataset("small", **parts, classes=CLASSES)


class Bytes(nn.Module):
    """Scales images in 0..255, then a small network, whose last layer reads five neurons."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        inputs = int(torch.tensor(shape).prod())
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 5), nn.ReLU())
        self.head = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.float() / 255))


def untrained(rows: Split, classes: int, epochs: int) -> nn.Module:
    """A surrogate of random weights, others for every number of epochs."""
    with seeded_rng(epochs, "untrained surrogate"):
        return Bytes(rows.sample_shape, classes).eval()


def attack_of(kind: str, **options: Any) -> Attack:
    """An attack by its name, with some of its options."""
    made: Attack = chosen_by("kind", ATTACKS)({"kind": kind, **options})
    return made


def victims(data: Dataset, seed: int = 0) -> Victims:
    """What an attacker has."""
    return Victims(data.train, data.classes, seed, untrained)


def poisoned(kind: str, data: Dataset | None = None, seed: int = 0, **options: Any) -> Poisoned:
    """Tiny data under an attack."""
    return poison(data or small_images(), attack_of(kind, **options), seed, untrained)
