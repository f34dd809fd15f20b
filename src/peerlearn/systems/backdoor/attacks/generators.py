"""Networks that make an image of an image: triggers of Input-aware attacks.

Shape suffixes: B batch, C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.blocks import conv_bn_relu


class Generator(nn.Module):
    """Three times down and up again, each way up beside what was there on the way down.

    Args:
        channels_in, channels: of what is read and made.
        width: channels at full size; they double at every way down, and stay at the third.

    Shapes:
        input: (B, channels_in, H, W), from 0 to 1
        output: (B, channels, H, W), from 0 to 1
    """

    def __init__(self, channels_in: int, channels: int, width: int) -> None:
        super().__init__()
        wide = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            conv_bn_relu(before, after, 3)
            for before, after in zip([channels_in, *wide], wide, strict=False)
        )
        self.bottom = conv_bn_relu(wide[-1], wide[-1], 3)
        self.up = nn.ModuleList(
            conv_bn_relu(below + beside, beside, 3)
            for below, beside in zip([wide[-1], *reversed(wide)], reversed(wide), strict=False)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        beside, x = [], x_BCHW
        for layer in self.down:
            x = layer(x)
            beside.append(x)
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.bottom(x)
        for layer, other in zip(self.up, reversed(beside), strict=True):
            x = layer(torch.cat([F.interpolate(x, other.shape[2:]), other], dim=1))
        return self.last(x).tanh() / 2 + 0.5


def sharpened(mask: Tensor) -> Tensor:
    """Values from 0 to 1, most of them near one of both: tanh(20 u − 10) / 2 + 0.5."""
    return (20 * mask - 10).tanh() / 2 + 0.5


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Root mean squared difference of each of some images and its other, (B,)."""
    # Equal images have a gradient too.
    return ((one - other).square().flatten(1).mean(1) + 1e-12).sqrt()


def sameness(x_BCHW: Tensor, y_BCHW: Tensor) -> Tensor:
    """How alike what is made of images is, beside the images themselves: mean d(x) / d(y).

    Each is compared with its neighbour in the batch, the first with the last.
    """
    differences = distance(x_BCHW, x_BCHW.roll(1, 0)) / (distance(y_BCHW, y_BCHW.roll(1, 0)) + 1e-7)
    return differences.mean()
