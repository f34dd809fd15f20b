"""The residual encoder that the pyramid networks read at several sizes, and what joins these."""

from functools import partial
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.blocks import conv_bn_relu, residual_stage
from peerlearn.models.resnet import BasicBlock


class Encoder(nn.Module):
    """A ResNet (He et al. 2016) of four stages for images of a few hundred pixels.

    The stem halves the image once instead of twice, for small images hold small things. With a
    `last_stride` of 1 the last stage keeps the maps' size and spreads its convolutions over twice
    the distance instead (dilation). ResNet-18 has 2 `blocks` a stage.

    Shapes:
        input: (batch, channels, height, width)
        result: `stage1` ... `stage4`, with 1, 2, 4, 8 times `width` channels, at 1/2, 1/4, 1/8,
            1/16 of height and width (1/8 where `last_stride` is 1), rounded up
    """

    def __init__(self, channels: int, width: int, blocks: int, last_stride: int = 2) -> None:
        super().__init__()
        self.channels = [width, 2 * width, 4 * width, 8 * width]
        self.stem = conv_bn_relu(channels, width, 3, stride=2)
        self.stages = nn.ModuleDict()
        strides, dilations = (1, 2, 2, last_stride), (1, 1, 1, 2 // last_stride)
        for n, (before, wide) in enumerate(pairwise([width, *self.channels])):
            block = partial(BasicBlock, dilation=dilations[n])
            self.stages[f"stage{n + 1}"] = residual_stage(block, before, wide, blocks, strides[n])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        features = {}
        for name, stage in self.stages.items():
            x = features[name] = stage(x)
        return features


def resized_like(x: Tensor, like: Tensor, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """`x`, (batch, channels, height, width), at the height and width of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    corners = False if mode == "bilinear" else None
    return F.interpolate(x, like.shape[-2:], mode=mode, align_corners=corners)
