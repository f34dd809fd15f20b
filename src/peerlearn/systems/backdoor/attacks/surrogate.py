"""The network that an attacker trains for itself."""

from collections.abc import Callable
from typing import Any

from torch import nn

from peerlearn.data.datasets import Split


def trained_surrogate(
    model: str, arguments: dict[str, Any], seed: int = 0
) -> Callable[[Split, int, int], nn.Module]:
    raise NotImplementedError
