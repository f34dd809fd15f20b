"""Layers and small sums that several networks share."""

from collections.abc import Callable

from torch import nn

from peerlearn.errors import InputError


def conv(
    channels_in: int,
    channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
) -> nn.Conv2d:
    """A convolution that keeps height and width at stride 1; no bias, as normalisation follows."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels_in, channels, kernel, stride, padding, dilation, groups, bias=False)


def conv_bn(channels_in: int, channels: int, kernel: int, **options: int) -> nn.Sequential:
    """Convolution and batch normalisation; options as in `conv`."""
    return nn.Sequential(conv(channels_in, channels, kernel, **options), nn.BatchNorm2d(channels))


def conv_bn_relu(channels_in: int, channels: int, kernel: int, **options: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; options as in `conv`."""
    return conv_bn(channels_in, channels, kernel, **options).append(nn.ReLU(inplace=True))


def bn_relu(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU, the pre-activation of a residual block."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def residual_stage(
    block: Callable[[int, int, int], nn.Module],
    channels_in: int,
    channels: int,
    blocks: int,
    stride: int,
) -> nn.Sequential:
    """Blocks, made of channels in, channels and stride; the first changes all three."""
    rest = (block(channels, channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(channels_in, channels, stride), *rest)


def dropout(rate: float) -> nn.Module:
    """Dropout; at rate 0 an identity in the same place, so that weights keep their names."""
    return nn.Dropout(rate) if rate else nn.Identity()


def halving_pool(size: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """A 2x2 max-pool and the size it leaves, or an identity where a map is too small to halve."""
    if min(size) < 2:
        return nn.Identity(), size
    return nn.MaxPool2d(2), tuple(side // 2 for side in size)


def scaled(channels: int, width: float) -> int:
    """`channels` times the width multiplier, at least one."""
    return max(1, round(channels * width))


def blocks_per_stage(depth: int, extra: int) -> int:
    """The n of a residual network of `depth` = 6n + `extra` layers in three equal stages.

    Raises InputError: no such n; names the nearest depths.
    """
    n, rest = divmod(depth - extra, 6)
    if n >= 1 and rest == 0:
        return n
    lower = max(1, n)
    near = f"{6 * lower + extra} or {6 * (lower + 1) + extra}"
    raise InputError(f"argument depth = {depth}: expected 6n + {extra}, such as {near}")
