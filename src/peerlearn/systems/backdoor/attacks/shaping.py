"""What attacks share that shape a trigger by the gradients of a network of the attacker's own."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.data.datasets import Split
from peerlearn.objectives.labels import labelled_rows
from peerlearn.systems.backdoor.attacks.base import Attack, Victims
from peerlearn.systems.backdoor.attacks.surrogate import logits_of

BATCH = 128


class ShapedAttack(Attack):
    """An attack that first trains a network of its own on the rows that it will poison."""

    epochs: int = Field(
        15, ge=1, le=1_000_000, description="passes in which the attacker's own network trains"
    )

    def surrogate(self, victims: Victims) -> nn.Module:
        """The attacker's own network, trained on the clean rows."""
        return victims.surrogate(victims.train, victims.classes, self.epochs)


def labelled(rows: Split) -> Split:
    """Those of the rows that have a label."""
    return rows.select(labelled_rows(rows.y).nonzero()[:, 0])


def shuffled(rows: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of row numbers, every row once, in a random order."""
    yield from torch.randperm(rows, generator=generator).split(BATCH)


def gradient_of_loss(
    network: nn.Module, x: Tensor, y_B: Tensor, to: Tensor
) -> tuple[Tensor, float]:
    """Gradient of the mean cross-entropy of images, with respect to `to`; and the loss."""
    loss = F.cross_entropy(logits_of(network, x), y_B)
    (gradient,) = torch.autograd.grad(loss, to)
    return gradient, float(loss.detach())
