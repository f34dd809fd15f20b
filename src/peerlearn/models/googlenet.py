"""GoogLeNet (Inception v1) for 32x32 images.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1. Adapted: batch normalisation
after every convolution, a stem that keeps the resolution (3x3 in place of 7x7, no stride, no pool),
and no auxiliary classifiers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.models.arguments import Factor
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import conv_bn_relu, scaled


class Branches(NamedTuple):
    """Channels of one Inception block; a `reduce` is the 1x1 convolution before its neighbour."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pool: int


STAGES = (
    (Branches(64, 96, 128, 16, 32, 32), Branches(128, 128, 192, 32, 96, 64)),  # 3a, 3b
    (  # 4a to 4e
        Branches(192, 96, 208, 16, 48, 64),
        Branches(160, 112, 224, 24, 64, 64),
        Branches(128, 128, 256, 24, 64, 64),
        Branches(112, 144, 288, 32, 64, 64),
        Branches(256, 160, 320, 32, 128, 128),
    ),
    (Branches(256, 160, 320, 32, 128, 128), Branches(384, 192, 384, 48, 128, 128)),  # 5a, 5b
)


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a max-pool side by side, their channels concatenated."""

    row_wise = "block"

    def __init__(self, channels_in: int, to: Branches) -> None:
        super().__init__()
        branches = [conv_bn_relu(channels_in, to.one, 1)]
        for reduce, channels, kernel in ((to.reduce3, to.three, 3), (to.reduce5, to.five, 5)):
            narrow = conv_bn_relu(channels_in, reduce, 1)
            branches.append(nn.Sequential(narrow, conv_bn_relu(reduce, channels, kernel)))
        pool = nn.MaxPool2d(3, stride=1, padding=1)
        last = nn.Sequential(pool, conv_bn_relu(channels_in, to.pool, 1))
        self.branches = nn.ModuleList([*branches, last])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def googlenet(in_shape: Shape, classes: int, *, width: Factor = 1.0) -> Backbone:
    """GoogLeNet (Inception v1) with batch normalisation for 32x32 images (Szegedy et al. 2015).

    Args:
        width: multiplier of every channel count.
    """
    narrow, channels = scaled(64, width), scaled(192, width)
    stem = nn.Sequential(
        conv_bn_relu(in_shape[0], narrow, 3),
        conv_bn_relu(narrow, narrow, 1),
        conv_bn_relu(narrow, channels, 3),
    )
    stages = []
    for n, blocks in enumerate(STAGES):
        stage = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1) if n else nn.Identity())
        for block in blocks:
            to = Branches(*(scaled(count, width) for count in block))
            stage.append(Inception(channels, to))
            channels = to.one + to.three + to.five + to.pool
        stages.append(stage)
    return Backbone(stages, channels, classes, stem=stem)
