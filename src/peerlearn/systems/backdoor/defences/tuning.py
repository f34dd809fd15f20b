"""The loop in which defences tune a network on clean rows, and how they look at a network.

Shape suffixes: B rows of a batch, C classes, d units that the last linear layer reads.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import count, islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from peerlearn.errors import InputError
from peerlearn.modes import evaluating, kept_modes
from peerlearn.systems.backdoor.defences.base import Batches, CleanRows
from peerlearn.transfer.outputs import PeerOutput, as_peer_output

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
#: Images and labels of a batch → the loss.
Loss = Callable[[Tensor, Tensor], Tensor]
#: One step of an optimiser, given the loss of the batch, which it may ask for again.
Step = Callable[[Optimizer, Callable[[], Tensor]], None]
#: Number of an epoch, and of all epochs → the part of the learning rate that it has.
Schedule = Callable[[int, int], float]


def output(network: nn.Module, x: Tensor) -> PeerOutput:
    """What a network says of a batch."""
    return as_peer_output(network(x), "to purify")


def cross_entropy(network: nn.Module, label_smoothing: float = 0.0) -> Loss:
    """The loss of a network, mean over the batch."""

    def loss(x: Tensor, y_B: Tensor) -> Tensor:
        return F.cross_entropy(output(network, x).logits, y_B, label_smoothing=label_smoothing)

    return loss


def descend(optimiser: Optimizer, loss: Callable[[], Tensor]) -> None:
    """The plain step down the gradient."""
    optimiser.zero_grad()
    loss().backward()
    optimiser.step()


def cosine(epoch: int, epochs: int) -> float:
    """From 1 in the first epoch down half a wave, as if 0 came after the last."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def fine_tune(
    network: nn.Module,
    clean: CleanRows,
    epochs: int,
    lr: float,
    *,
    loss: Loss | None = None,
    step: Step = descend,
    after_step: Callable[[], None] | None = None,
    schedule: Schedule = cosine,
    weight_decay: float = WEIGHT_DECAY,
) -> None:
    """Train in place by SGD with momentum 0.9, in training mode.

    Args:
        network: its modes are left as they were found.
        clean: the batches of its `epoch` are learned from.
        epochs: passes over them.
        lr: learning rate, times what `schedule` gives for an epoch.
        loss: of a batch; None for the cross-entropy.
        step: how the optimiser steps.
        after_step: called after every step, to put weights back where they must be.
        schedule: path of the learning rate, by epochs.
        weight_decay: of all weights.
    """
    loss = loss or cross_entropy(network)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(weights, lr, momentum=MOMENTUM, weight_decay=weight_decay)
    with kept_modes(network):
        network.train()
        for epoch in range(epochs):
            optimiser.param_groups[0]["lr"] = lr * schedule(epoch, epochs)
            for x, y_B in clean.epoch(epoch):
                step(optimiser, partial(loss, x, y_B))
                if after_step is not None:
                    after_step()
    optimiser.zero_grad()


def endless(clean: CleanRows, batches: int) -> Batches:
    """So many batches, of epoch after epoch."""
    return islice((batch for epoch in count() for batch in clean.epoch(epoch)), batches)


def accuracy(network: nn.Module, batches: Batches) -> float:
    """The part of rows that a network tells right, in evaluation mode; modes are kept.

    Raises InputError: no rows.
    """
    hits = rows = 0
    with evaluating(network), torch.no_grad():
        for x, y_B in batches:
            hits += int((output(network, x).logits.argmax(1) == y_B).sum())
            rows += len(y_B)
    if not rows:
        raise InputError("defence: no clean rows are held out; thresholds are chosen by some")
    return hits / rows


def is_within(found: float, before: float, tolerance: float) -> bool:
    """Whether an accuracy fell by no more than the part `tolerance` of what it was."""
    return found >= (1 - tolerance) * before - 1e-9  # 0.8 · 0.9 is above 0.72 in binary


def last_linear(network: nn.Module, clean: CleanRows, method: str) -> nn.Linear:
    """The linear layer that classifies: what it gives is told by the network as it is.

    It is found in a forward of the first clean batch, since the order of submodules proves nothing.

    Raises InputError: the network does not end in such a layer; names the method.
    """
    calls: list[tuple[nn.Linear, Tensor]] = []
    handles = [
        layer.register_forward_hook(lambda layer, _, out: calls.append((layer, out)))
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        with evaluating(network), torch.no_grad():
            logits_BC = output(network, next(clean.all())[0]).logits
    finally:
        for handle in handles:
            handle.remove()
    if calls:
        layer, out = calls[-1]
        alike = logits_BC.ndim == 2 and out.shape == logits_BC.shape
        if alike and torch.equal(out.argmax(1), logits_BC.argmax(1)):
            return layer
    raise InputError(
        f"defence {method!r}: needs a network whose logits come from an nn.Linear, and "
        f"{type(network).__name__} has none at its end; allowed: another network or method"
    )
