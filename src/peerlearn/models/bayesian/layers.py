"""Mean-field layers: torch's own with a Gaussian for every weight.

`weight` and `bias` are the means, under the names that torch gives them, so that the weights of a
deterministic network fit; `weight_rho` and `bias_rho` are beside them.

How a forward draws in training, `method`:
    reparameterisation: one draw of the weights for the whole batch (Blundell et al. 2015).
    local: the outputs are drawn, each row's on its own, N(op(x, μ), op(x², σ²)) (Kingma et al.
        2015, "Variational Dropout and the Local Reparameterization Trick"); positions of one map
        are drawn as if they shared no weights.
    flipout: one draw whose signs change from row to row (Wen et al. 2018), by what comes out. Signs
        of what goes in, which the paper has too, are left out: those of two rows are independent
        either way, so that their draws do not correlate, and inputs are large.
In evaluation weights are drawn whole, by `reparameterisation`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from peerlearn.models.bayesian.draws import Draws, NotByRowsError
from peerlearn.models.bayesian.posterior import Gaussian, MeanField, Method

SMALLEST_ROOT = 1e-7
"""The standard deviation of an output counts as this at least in its gradient; at 0 it has none."""


class _Spread(torch.autograd.Function):
    """mean + √variance · ε, with one tensor kept and few passes over memory.

    The derivative by the variance is left doubled, and that of `_Square` halved: one always comes
    after the other, and outputs are large.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor) -> Tensor:
        root = variance.clamp_min(0).sqrt_()
        noise = _normal(mean)
        out = torch.addcmul(mean, root, noise)
        ctx.save_for_backward(noise.div_(root.clamp_min_(SMALLEST_ROOT)))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (slope,) = ctx.saved_tensors
        return grad, grad * slope


def _normal(like: Tensor) -> Tensor:
    """Standard normals in the memory format of a tensor.

    Drawn flat and in fp32: where channels are last in memory, and in 16 bits, torch draws one by
    one, several times as slow.
    """
    wide = torch.promote_types(like.dtype, torch.float32)
    flat = torch.randn(like.numel(), dtype=wide, device=like.device).to(like.dtype)
    return flat.as_strided(like.shape, torch.empty_like(like).stride())


class _Square(torch.autograd.Function):
    """x², for what `_Spread` gets its variance of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x


class _Layer(MeanField):
    """What the layers share: the three ways to draw."""

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        """The linear operation of the layer with these weights."""
        raise NotImplementedError

    def signs(self, out: Tensor) -> Tensor:
        """±1 by row and channel of what comes out."""
        return _signs(out, out.shape)

    def squared(self, x: Tensor) -> Tensor:
        """What goes in with the variances."""
        return _Square.apply(x)

    def of_all_draws(self, x: Tensor, draws: Draws, *more: Any) -> Tensor:
        """The outputs (S · B, …) of S draws of the weights for rows that all share, or have each.

        Raises NotByRowsError: rows that are neither.
        """
        raise NotImplementedError

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The output for weights drawn as `method` says; arguments are those of torch's layer."""
        x, more = input, () if output_size is None else (output_size,)
        if self.mean_only:
            return self.op(x, self.weight, self.bias, *more)
        if self.draws is not None and self.draws.at is None:
            return self.of_all_draws(x, self.draws, *more)
        anew = self.training and self.frozen is None and self.draws is None
        return METHODS[self.method if anew else WHOLE](self, x, *more)


def _reparameterised(layer: _Layer, x: Tensor, *more: Any) -> Tensor:
    weight = layer.drawn("weight")
    assert weight is not None
    return layer.op(x, weight, layer.drawn("bias"), *more)


def _local(layer: _Layer, x: Tensor, *more: Any) -> Tensor:
    mean = layer.op(x, layer.weight, layer.bias, *more)
    of_bias = _Square.apply(layer.std("bias")) if "bias" in layer.random_names() else None
    variance = layer.op(layer.squared(x), _Square.apply(layer.std("weight")), of_bias, *more)
    return _Spread.apply(mean, variance)


def _flipout(layer: _Layer, x: Tensor, *more: Any) -> Tensor:
    mean = layer.op(x, layer.weight, layer.bias, *more)
    noise = layer.std("weight") * layer.noise("weight")
    of_bias = layer.std("bias") * layer.noise("bias") if "bias" in layer.random_names() else None
    return torch.addcmul(mean, layer.op(x, noise, of_bias, *more), layer.signs(mean))


WHOLE: Method = "reparameterisation"
METHODS: dict[Method, Callable[..., Tensor]] = {
    WHOLE: _reparameterised,
    "local": _local,
    "flipout": _flipout,
}


def _signs(like: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    # Several times as fast as `bernoulli_`, which draws doubles.
    return torch.randint(2, shape, device=like.device).to(like.dtype).mul_(2).sub_(1)


class BayesianLinear(_Layer, nn.Linear):
    """`nn.Linear` with a posterior; (..., in) to (..., out)."""

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        return F.linear(x, weight, bias)

    def of_all_draws(self, x: Tensor, draws: Draws, *more: Any) -> Tensor:
        if x.ndim < 2:
            raise NotByRowsError
        weight, bias = self.all_drawn("weight"), self.all_drawn("bias")
        assert weight is not None
        shape = (draws.rows * draws.count, *x.shape[1:-1], self.out_features)
        parts = 1 if draws.shared(x) else draws.count
        each = x.reshape(parts, -1, self.in_features).expand(draws.count, -1, -1)
        if bias is None:
            return torch.bmm(each, weight.mT).view(shape)
        return torch.baddbmm(bias[:, None], each, weight.mT).view(shape)


class _Convolution(_Layer):
    """Signs by row and channel, the same at every position; draws as groups of channels."""

    stride: Any
    padding: Any
    dilation: Any
    groups: int

    def signs(self, out: Tensor) -> Tensor:
        positions = self.weight.ndim - 2
        return _signs(out, (*out.shape[:-positions], *[1] * positions))

    def grouped(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, *more: Any
    ) -> Tensor:
        """`op` in so many groups of channels."""
        raise NotImplementedError

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        return self.grouped(x, weight, bias, self.groups, *more)

    def of_all_draws(self, x: Tensor, draws: Draws, *more: Any) -> Tensor:
        if x.ndim != self.weight.ndim:
            raise NotByRowsError
        weight, bias = self.all_drawn("weight"), self.all_drawn("bias")
        assert weight is not None
        bias = None if bias is None else bias.flatten()
        shared, count = draws.shared(x), draws.count
        if shared and self.groups == 1 and isinstance(self, _Straight):
            out = self.grouped(x, weight.flatten(0, 1), bias, 1)
        else:
            beside = x.repeat(1, count, *[1] * (x.ndim - 2)) if shared else _beside(x, count)
            out = self.grouped(beside, weight.flatten(0, 1), bias, count * self.groups, *more)
        return out.unflatten(1, (count, -1)).transpose(0, 1).flatten(0, 1)


def _beside(x: Tensor, count: int) -> Tensor:
    """Rows of S draws (S · B, C, …) as channels of theirs (B, S · C, …)."""
    return x.unflatten(0, (count, -1)).transpose(0, 1).flatten(1, 2)


class _Straight(_Convolution):
    padding_mode: Any
    _reversed_padding_repeated_twice: list[int]

    def grouped(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, *more: Any
    ) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode), 0
        operation: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[self.weight.ndim - 3]
        return operation(x, weight, bias, self.stride, padding, self.dilation, groups)


class BayesianConv1d(_Straight, nn.Conv1d):
    """`nn.Conv1d` with a posterior."""


class BayesianConv2d(_Straight, nn.Conv2d):
    """`nn.Conv2d` with a posterior."""


class BayesianConv3d(_Straight, nn.Conv3d):
    """`nn.Conv3d` with a posterior."""


class _Transposed(_Convolution):
    _output_padding: Callable[..., list[int]]
    kernel_size: Any

    def grouped(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, *more: Any
    ) -> Tensor:
        positions = self.weight.ndim - 2
        size = more[0] if more else None
        shape = (self.stride, self.padding, self.kernel_size)
        padding = self._output_padding(x, size, *shape, positions, self.dilation)
        operation: Callable[..., Tensor] = (
            F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
        )[positions - 1]  # fmt: skip
        return operation(x, weight, bias, self.stride, self.padding, padding, groups, self.dilation)


class BayesianConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with a posterior."""


class BayesianConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with a posterior."""


class BayesianConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """`nn.ConvTranspose3d` with a posterior."""


class BayesianEmbedding(_Layer, nn.Embedding):
    """`nn.Embedding` with a posterior; every place of an index is a row to `local` and `flipout`.

    The row of `padding_idx` has no posterior: it is what it is, for torch trains none of it, and a
    σ that no data hold would rise to the prior's and make noise of every padding.
    """

    bias = None

    def std(self, name: str) -> Tensor:
        std = super().std(name)
        if self.padding_idx is None:
            return std
        return std.index_fill(0, torch.tensor(self.padding_idx, device=std.device), 0.0)

    def gaussian(self, name: str) -> Gaussian:
        """The posterior of all rows but that of `padding_idx`."""
        whole = super().gaussian(name)
        if self.padding_idx is None:
            return whole
        place = self.padding_idx
        mean, std, *centre = (
            torch.cat([each[:place], each[place + 1 :]])
            for each in (whole.mean, whole.std, whole.prior_mean)
            if isinstance(each, Tensor)
        )
        return Gaussian(mean, std, centre[0] if centre else 0.0, whole.prior_std)

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any) -> Tensor:
        return F.embedding(
            x, weight, self.padding_idx, None, 2.0, self.scale_grad_by_freq, self.sparse
        )

    def squared(self, x: Tensor) -> Tensor:
        return x

    def of_all_draws(self, x: Tensor, draws: Draws, *more: Any) -> Tensor:
        if self.padding_idx is not None and torch.is_grad_enabled():
            raise NotByRowsError  # a row for each draw, and none of them may have a gradient
        weight, count = self.all_drawn("weight"), draws.count
        assert weight is not None
        ids = draws.folded(x).unflatten(0, (count, -1))
        # Draw by draw below each other, in one table.
        first = torch.arange(count, device=x.device) * self.num_embeddings
        places = ids + first.view(-1, *[1] * (ids.ndim - 1))
        return F.embedding(places, weight.flatten(0, 1)).flatten(0, 1)
