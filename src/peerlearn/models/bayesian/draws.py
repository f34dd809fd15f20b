"""S draws of all weights of a network, one after the other or in one forward.

In one forward rows are folded, draw by draw, into the batch: (B, …) until the first Bayesian layer,
(S · B, …) after it, where every Bayesian layer takes the weights of draw s for rows s · B to
(s + 1) · B. `apart` says of which networks that is right.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from peerlearn.models.bayesian.posterior import MeanField, mean_field_layers


class NotByRowsError(Exception):
    """Something in the network does not have the rows that it was given."""


class Draws:
    """Several draws of the weights of a network: each is a stream of noise of its own.

    A stream is read layer by layer, so that draws are the same one by one and all at once.

    Args:
        count: S.
        device: where the network is.

    Attributes:
        at: the draw that a forward is of; None where it is of all.
        rows: B of the forward of all.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        first = int(torch.randint(2**62, ()))
        self.count, self.rows = count, 0
        self.at: int | None = None
        self._first, self._device = first, device
        self.restart()

    def restart(self) -> None:
        """Draw the same again."""
        self._streams = [
            torch.Generator(self._device).manual_seed(self._first + s) for s in range(self.count)
        ]
        self._stds: dict[int, Tensor] = {}

    def one(self, like: Tensor) -> Tensor:
        """ε of the draw that is on, of the shape of a parameter."""
        assert self.at is not None
        return like.new_empty(like.shape).normal_(generator=self._streams[self.at])

    def all(self, like: Tensor) -> Tensor:
        """ε (S, …) of all draws."""
        noise = like.new_empty(self.count, *like.shape)
        for each, stream in zip(noise, self._streams, strict=True):
            each.normal_(generator=stream)
        return noise

    def std(self, layer: MeanField, name: str) -> Tensor:
        """σ of a parameter, made once for all draws."""
        rho = getattr(layer, f"{name}_rho")
        if id(rho) not in self._stds:
            self._stds[id(rho)] = layer.std(name)
        return self._stds[id(rho)]

    def shared(self, x: Tensor) -> bool:
        """Whether rows are those of all draws, as before the first Bayesian layer.

        Raises NotByRowsError: they are neither that, nor those of every draw.
        """
        if len(x) not in (self.rows, self.rows * self.count):
            raise NotByRowsError
        return len(x) == self.rows

    def folded(self, x: Tensor) -> Tensor:
        """Rows of every draw."""
        return x.repeat(self.count, *[1] * (x.ndim - 1)) if self.shared(x) else x


@contextmanager
def drawing(network: nn.Module, draws: Draws) -> Iterator[None]:
    """Within it weights are drawn whole, by `draws`."""
    layers = [layer for _, layer in mean_field_layers(network)]
    for layer in layers:
        layer.draws = draws
    try:
        yield
    finally:
        for layer in layers:
            layer.draws = None
