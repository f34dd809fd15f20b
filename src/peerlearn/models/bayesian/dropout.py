"""Monte-Carlo dropout: networks that keep dropping units when they are evaluated.

Gal & Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016: a forward with dropout is a draw
of the network's weights, and several of them give a predictive distribution.
"""

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError


class DrawnDropout(nn.Dropout):
    """`nn.Dropout` that drops in evaluation too, unless its network is deterministic."""

    mean_only: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """x with units set to 0, the others scaled up."""
        return F.dropout(x, self.p, self.training if self.mean_only else True, self.inplace)


class _DropsInputs:
    """A hook of a layer whose inputs are dropped."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *more = inputs
        drops = layer.training if layer.mean_only else True
        return (F.dropout(x, self.rate, drops), *more)


def stop_drawing(network: nn.Module) -> None:
    """Undo `with_dropout`, in place: what drops units does so in training alone, or not at all."""
    for module in network.modules():
        if isinstance(module, DrawnDropout):
            module.__class__ = nn.Dropout  # type: ignore[assignment]
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, _DropsInputs):
                del module._forward_pre_hooks[key], module.mean_only


def with_dropout(
    network: nn.Module, rate: float, which: Literal["all", "last"] = "all", *, field: str = ""
) -> nn.Module:
    """Let a network drop units in every forward, in place.

    One with dropout layers drops there, in evaluation too, at their own rates. In one without them
    inputs of linear and convolutional layers are dropped at `rate`: of all but the first, which
    reads the data, or of the last alone.

    Raises InputError: a rate outside of 0 to 1; or nothing in the network would be dropped.
    """
    where = f"{field}: " if field else ""
    if not 0 <= rate < 1:
        raise InputError(f"{where}dropout: found {rate!r}; allowed: 0 to below 1")
    own = [module for module in network.modules() if type(module) is nn.Dropout and module.p]
    for module in own:
        module.__class__ = DrawnDropout  # as its own subclass it keeps its rate and its place
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [module for module in network.modules() if isinstance(module, kinds)][1:]
    chosen = [] if own or not rate else layers if which == "all" else layers[-1:]
    if not chosen and not own:
        raise InputError(f"{where}dropout: nothing to drop; needs a rate and two layers or more")
    for layer in chosen:
        layer.mean_only = False  # type: ignore[assignment]
        layer.register_forward_pre_hook(_DropsInputs(rate))
    return network
