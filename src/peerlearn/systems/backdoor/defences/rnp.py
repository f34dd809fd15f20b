"""Reconstructive Neuron Pruning: a network that forgot what is clean shows who knows the backdoor.

Li, Lyu, Ma, Koren, Lyu, Li, Jiang, "Reconstructive Neuron Pruning for Backdoor Defense", ICML 2023,
arXiv 2305.14876.

Shape suffixes: B rows of a batch.
"""

import copy
import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import RunError
from peerlearn.modes import frozen_statistics
from peerlearn.systems.backdoor.defences.base import CleanRows, Defence
from peerlearn.systems.backdoor.defences.masks import (
    first_masks,
    learn_masks,
    masked_logits,
    norm_layers,
    prune,
)
from peerlearn.systems.backdoor.defences.tuning import MOMENTUM, WEIGHT_DECAY, output

MOST = 20
"""Epochs of unlearning."""


class ReconstructiveNeuronPruning(Defence):
    """Unlearn a copy, recover it by masks of its channels alone, and prune the network by these.

    The copy climbs the cross-entropy of clean rows until it tells few of them right; then masks of
    BatchNorm's scales learn to tell them again. Channels whose mask falls meanwhile are pruned in
    the network that came.
    """

    prunes: ClassVar[bool] = True

    method: Literal["rnp"] = "rnp"
    unlearn_lr: float = Field(
        0.01, gt=0, description="learning rate up the loss; a tenth from the 11th epoch on"
    )
    stop: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="accuracy on clean rows at which unlearning ends; null: 0.2, or 1.2 times the "
        "part of the most frequent class where that is more, for whoever tells it always is right "
        "so often",
    )
    epochs: int = Field(20, ge=1, description="passes that recover, over the clean rows")
    lr: float = Field(0.2, gt=0, description="learning rate of the masks")
    alpha: float = Field(0.2, gt=0, description="factor of the cross-entropy that recovers")
    tolerance: float = Field(
        0.1, ge=0, lt=1, description="part of the held-out accuracy that pruning may cost"
    )

    def change(self, network: nn.Module, clean: CleanRows) -> None:
        layers = norm_layers(network, self.method)
        forgetful = copy.deepcopy(network)
        stop = reachable(clean) if self.stop is None else self.stop
        unlearn(forgetful, clean, self.unlearn_lr, stop)
        masks = first_masks(layers)

        def loss(x: Tensor, y_B: Tensor) -> Tensor:
            return self.alpha * F.cross_entropy(masked_logits(forgetful, x, masks), y_B)

        batches = (batch for epoch in range(self.epochs) for batch in clean.epoch(epoch))
        with frozen_statistics(forgetful):
            learn_masks(masks, batches, loss, self.lr)
        prune(network, layers, masks, clean, self.tolerance)


def reachable(clean: CleanRows) -> float:
    """An accuracy that a network that has forgotten all falls to: 0.2 with 6 classes or more.

    With 4 classes it would stay near 0.25 and be unlearned to pieces, from which no mask recovers.
    """
    y_N = torch.cat([y_B for _, y_B in clean.all()])
    return max(0.2, 1.2 * float(y_N.bincount().max()) / len(y_N))


def unlearn(network: nn.Module, clean: CleanRows, lr: float, stop: float) -> int:
    """Climb the loss in place, in training mode, until an epoch's accuracy is at most `stop`.

    Returns: epochs that it took, at most 20.

    Raises RunError: the loss became infinite.
    """
    optimiser = torch.optim.SGD(
        network.parameters(), lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    network.train()
    for epoch in range(MOST):
        optimiser.param_groups[0]["lr"] = lr * (1.0 if epoch < 10 else 0.1)
        hits = rows = 0
        for x, y_B in clean.epoch(epoch):
            optimiser.zero_grad()
            logits = output(network, x).logits
            loss = F.cross_entropy(logits, y_B)
            if not math.isfinite(loss.item()):
                raise RunError(
                    f"defence 'rnp': unlearning ran away in epoch {epoch + 1}, with a loss of "
                    f"{loss.item()}; give it a lower unlearn_lr than {lr:g}"
                )
            (-loss).backward()
            optimiser.step()
            hits += int((logits.argmax(1) == y_B).sum())
            rows += len(y_B)
        if hits <= stop * rows:
            return epoch + 1
    return MOST
