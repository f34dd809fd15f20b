"""How large a network is."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from peerlearn.models.backbone import Shape
from peerlearn.modes import evaluating
from peerlearn.randomness import preserved_rng


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trained or frozen; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, in_shape: Shape) -> int:
    """Multiply-accumulates of one forward pass of one sample: convolutions and matrix products.

    Runs the network on zeros, on the device and in the type of its parameters; see
    `multiply_adds_of`. On the meta device nothing is computed.
    """
    like = next(module.parameters(), torch.empty(0))
    return multiply_adds_of(module, torch.zeros(1, *in_shape, device=like.device, dtype=like.dtype))


def multiply_adds_of(module: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of one forward pass on `x`, as in `multiply_adds`.

    The network runs in evaluation mode; modes, normalisation statistics and random generators are
    left as found.
    """
    counter = FlopCounterMode(display=False)
    with preserved_rng(), evaluating(module), torch.no_grad(), counter:
        module(x)
    return counter.get_total_flops() // 2
