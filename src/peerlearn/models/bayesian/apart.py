"""Networks that keep the rows of a batch apart, which can have S draws of their rows in one batch.

Nobody can see from outside whether a forward looks across rows, and a trial on one batch is no
proof. So it is known of layers of torch by their exact type, and of other classes where they say so
of their own forward, by an attribute of the class:

    row_wise = "chain": parts run one after the other, each on the output of the one before;
    row_wise = "block": parts run beside each other, and their outputs are combined.

A subclass says it anew, for its forward may be another.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from peerlearn.models.bayesian.convert import BAYESIAN
from peerlearn.models.bayesian.draws import Draws
from peerlearn.models.bayesian.posterior import MeanField

#: Each output is of the row of its input.
LAYERS = frozenset((
    *BAYESIAN, *BAYESIAN.values(), nn.GroupNorm, nn.Identity, nn.Dropout, nn.Dropout2d,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.Softplus, nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d,
    nn.Sequential, nn.ModuleList, nn.ModuleDict,
))  # fmt: skip
#: So is theirs, where they use statistics that they keep.
NORMS = frozenset((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))


def keeps_rows_apart(network: nn.Module) -> bool:
    """Whether it is known that every output of a network is of one row of its input alone.

    Of a network in evaluation mode. Hooks may do anything: with one it is not known.
    """
    return all(map(_keeps, network.modules()))


def _keeps(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    kind = type(module)
    if kind in NORMS:
        return not module.training and getattr(module, "running_mean", None) is not None
    if kind is nn.Flatten:
        return getattr(module, "start_dim", None) == 1
    return kind in LAYERS or says(module) is not None


def says(module: nn.Module) -> str | None:
    """What the class of a module itself says of its rows."""
    said = vars(type(module)).get("row_wise")
    return said if said in ("chain", "block") else None


@contextmanager
def folding(network: nn.Module, draws: Draws) -> Iterator[None]:
    """Within it blocks in which weights are drawn get rows of every draw, for all their parts."""

    def fold(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (draws.folded(given[0]), *given[1:])

    with ExitStack() as hooks:
        for module in network.modules():
            if says(module) == "block" and any(isinstance(m, MeanField) for m in module.modules()):
                hooks.callback(module.register_forward_pre_hook(fold).remove)
        yield
