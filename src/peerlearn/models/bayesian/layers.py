"""Mean-field layers: torch's own with a Gaussian for every weight.

`weight` and `bias` are the means, under the names that torch gives them, so that the weights of a
deterministic network fit; `weight_rho` and `bias_rho` are beside them.

How a forward draws in training, `method`:
    reparameterisation: one draw of the weights for the whole batch (Blundell et al. 2015).
    local: the outputs are drawn, each row's on its own, N(op(x, μ), op(x², σ²)) (Kingma et al.
        2015, "Variational Dropout and the Local Reparameterization Trick"); positions of one map
        are drawn as if they shared no weights.
    flipout: one draw whose signs change from row to row (Wen et al. 2018).
In evaluation weights are drawn whole, by `reparameterisation`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.bayesian.posterior import MeanField, Method

SMALLEST_VARIANCE = 1e-14
"""Added to the variance of an output, whose root has no gradient at 0."""


class _Layer(MeanField):
    """What the layers share: the three ways to draw."""

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        """The linear operation of the layer with these weights."""
        raise NotImplementedError

    def signs(self, x: Tensor, out: Tensor) -> tuple[Tensor | None, Tensor]:
        """±1 by row and channel of what goes in and what comes out; None where rows are picked."""
        raise NotImplementedError

    def squared(self, x: Tensor) -> Tensor:
        """What goes in with the variances."""
        return x.square()

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        """The layer's output for weights drawn as `method` says."""
        if self.mean_only:
            return self.op(x, self.weight, self.bias, *more)
        method = METHODS[self.method if self.training and self.frozen is None else WHOLE]
        return method(self, x, *more)


def _reparameterised(layer: _Layer, x: Tensor, *more: Any) -> Tensor:
    weight = layer.drawn("weight")
    assert weight is not None
    return layer.op(x, weight, layer.drawn("bias"), *more)


def _local(layer: _Layer, x: Tensor, *more: Any) -> Tensor:
    mean = layer.op(x, layer.weight, layer.bias, *more)
    of_bias = layer.std("bias").square() if "bias" in layer.random_names() else None
    variance = layer.op(layer.squared(x), layer.std("weight").square(), of_bias, *more)
    return mean + (variance + SMALLEST_VARIANCE).sqrt() * torch.randn_like(mean)


def _flipout(layer: _Layer, x: Tensor, *more: Any) -> Tensor:
    mean = layer.op(x, layer.weight, layer.bias, *more)
    inner, outer = layer.signs(x, mean)
    noise = layer.std("weight") * layer.noise("weight")
    of_bias = layer.std("bias") * layer.noise("bias") if "bias" in layer.random_names() else None
    flipped = x if inner is None else x * inner
    return mean + layer.op(flipped, noise, of_bias, *more) * outer


WHOLE: Method = "reparameterisation"
METHODS: dict[Method, Callable[..., Tensor]] = {
    WHOLE: _reparameterised,
    "local": _local,
    "flipout": _flipout,
}


def _signs(like: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    drawn = torch.empty(shape, dtype=like.dtype, device=like.device)
    return drawn.bernoulli_().mul_(2).sub_(1)


class BayesianLinear(_Layer, nn.Linear):
    """`nn.Linear` with a posterior; (..., in) to (..., out)."""

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        return F.linear(x, weight, bias)

    def signs(self, x: Tensor, out: Tensor) -> tuple[Tensor | None, Tensor]:
        return _signs(x, x.shape), _signs(out, out.shape)


class _Convolution(_Layer):
    """Signs by row and channel, the same at every position."""

    def signs(self, x: Tensor, out: Tensor) -> tuple[Tensor | None, Tensor]:
        positions = self.weight.ndim - 2
        inner, outer = (
            _signs(each, (*each.shape[:-positions], *[1] * positions)) for each in (x, out)
        )
        return inner, outer


class _Straight(_Convolution):
    _conv_forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        return self._conv_forward(x, weight, bias)  # which pads as the layer does


class BayesianConv1d(_Straight, nn.Conv1d):
    """`nn.Conv1d` with a posterior."""


class BayesianConv2d(_Straight, nn.Conv2d):
    """`nn.Conv2d` with a posterior."""


class BayesianConv3d(_Straight, nn.Conv3d):
    """`nn.Conv3d` with a posterior."""


class _Transposed(_Convolution):
    _output_padding: Callable[..., list[int]]
    stride: Any
    padding: Any
    kernel_size: Any
    dilation: Any
    groups: int

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        positions = self.weight.ndim - 2
        size = more[0] if more else None
        shape = (self.stride, self.padding, self.kernel_size)
        padding = self._output_padding(x, size, *shape, positions, self.dilation)
        operation: Callable[..., Tensor] = (
            F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
        )[positions - 1]  # fmt: skip
        return operation(
            x, weight, bias, self.stride, self.padding, padding, self.groups, self.dilation
        )


class BayesianConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with a posterior."""


class BayesianConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with a posterior."""


class BayesianConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """`nn.ConvTranspose3d` with a posterior."""


class BayesianEmbedding(_Layer, nn.Embedding):
    """`nn.Embedding` with a posterior; every place of an index is a row to `local` and `flipout`.

    The row of `padding_idx` is drawn as all others are, but its mean has no gradient.
    """

    bias = None

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        return F.embedding(
            x, weight, self.padding_idx, None, 2.0, self.scale_grad_by_freq, self.sparse
        )

    def squared(self, x: Tensor) -> Tensor:
        return x

    def signs(self, x: Tensor, out: Tensor) -> tuple[Tensor | None, Tensor]:
        return None, _signs(out, out.shape)
