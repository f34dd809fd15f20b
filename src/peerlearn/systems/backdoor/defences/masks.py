"""Masks on the scales of BatchNorm: one a channel, learned by two defences, pruned by a threshold.

Shape suffixes: C channels.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from peerlearn.errors import InputError
from peerlearn.systems.backdoor.defences.base import Batches, CleanRows
from peerlearn.systems.backdoor.defences.tuning import MOMENTUM, accuracy, is_within
from peerlearn.transfer.outputs import as_peer_output

THRESHOLDS = [number / 20 for number in range(19)]
"""0 to 0.9 in steps of 0.05."""
#: A number per channel (C,), by the name of a BatchNorm layer.
PerChannel = Mapping[str, Tensor]


def norm_layers(network: nn.Module, method: str) -> dict[str, _BatchNorm]:
    """The BatchNorm layers that scale their channels, by name.

    Raises InputError: there are none; names the method.
    """
    layers = _scaling_layers(network)
    if not layers:
        raise InputError(
            f"defence {method!r}: needs a network with BatchNorm, whose channels it masks, and "
            f"{type(network).__name__} has none that scales; allowed: another network or method"
        )
    return layers


def _scaling_layers(network: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, _BatchNorm) and layer.affine
    }


def first_masks(layers: Mapping[str, _BatchNorm]) -> dict[str, Tensor]:
    """Masks of 1, which are the network as it is."""
    return {name: torch.ones_like(layer.weight.detach()) for name, layer in layers.items()}


def masked_logits(
    network: nn.Module, x: Tensor, scales: PerChannel, shifts: PerChannel | None = None
) -> Tensor:
    """Logits of the network with scales g·`scales` and biases b·`shifts` of BatchNorm.

    Its own weights are neither changed nor differentiated.
    """
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    for parts, kind in ((scales, "weight"), (shifts or {}, "bias")):
        for name, factor_C in parts.items():
            key = f"{name}.{kind}" if name else kind
            weights[key] = weights[key] * factor_C
    return as_peer_output(functional_call(network, weights, (x,)), "to purify").logits


def learn_masks(
    masks: Mapping[str, Tensor],
    batches: Batches,
    loss: Callable[[Tensor, Tensor], Tensor],
    lr: float,
) -> None:
    """One step of SGD with momentum a batch, in place; masks stay in [0, 1]."""
    learned = [mask.requires_grad_() for mask in masks.values()]
    optimiser = torch.optim.SGD(learned, lr, momentum=MOMENTUM)
    for x, y in batches:
        optimiser.zero_grad()
        loss(x, y).backward()
        optimiser.step()
        with torch.no_grad():
            for mask in learned:
                mask.clamp_(0, 1)
    for mask in learned:
        mask.requires_grad_(False).grad = None


def pruned_part(network: nn.Module) -> float:
    """The part of all channels that BatchNorm scales by 0."""
    scales = torch.cat([layer.weight.detach() for layer in _scaling_layers(network).values()])
    return (scales == 0).double().mean().item()


@torch.no_grad()
def prune(
    network: nn.Module,
    layers: Mapping[str, _BatchNorm],
    masks: PerChannel,
    clean: CleanRows,
    tolerance: float,
) -> float | None:
    """Zero the scales of channels whose mask is at most a threshold, in place.

    The threshold is the largest of `THRESHOLDS` that keeps the accuracy on held-out rows within
    the tolerance; where none does, nothing is pruned.

    Returns: the threshold, or None.
    """
    before = accuracy(network, clean.held_out())
    scales = {name: layer.weight.clone() for name, layer in layers.items()}
    for threshold in reversed(THRESHOLDS):
        for name, layer in layers.items():
            layer.weight.copy_(scales[name] * (masks[name] > threshold))
        if is_within(accuracy(network, clean.held_out()), before, tolerance):
            return threshold
    for name, layer in layers.items():
        layer.weight.copy_(scales[name])
    return None
