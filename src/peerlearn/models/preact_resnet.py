"""Residual networks that normalise and activate before each convolution.

He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016.
"""

from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from peerlearn.models.arguments import Count
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import bn_relu, conv, dropout, residual_stage


class PreActBlock(nn.Module):
    """x + two 3x3 convolutions, each behind its own batch normalisation and ReLU.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, drop: float = 0.0) -> None:
        super().__init__()
        self.activate = bn_relu(channels_in)
        self.residual = nn.Sequential(
            conv(channels_in, channels, 3, stride),
            bn_relu(channels),
            dropout(drop),
            conv(channels, channels, 3),
        )
        same = stride == 1 and channels_in == channels
        self.projection = None if same else conv(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = self.activate(x)
        shortcut = x if self.projection is None else self.projection(active)
        return shortcut + self.residual(active)


def preact_backbone(
    in_shape: Shape,
    classes: int,
    *,
    stem: int,
    widths: list[int],
    blocks: int,
    drop: float = 0.0,
) -> Backbone:
    """Stages of `blocks` pre-activation blocks; every stage but the first halves the image.

    The last stage ends in batch normalisation and ReLU: its sums have met neither.
    """
    block = partial(PreActBlock, drop=drop)
    stages = [
        residual_stage(block, channels, wide, blocks, 2 if n else 1)
        for n, (channels, wide) in enumerate(pairwise([stem, *widths]))
    ]
    stages[-1].append(bn_relu(widths[-1]))
    return Backbone(stages, widths[-1], classes, stem=conv(in_shape[0], stem, 3))


def preact_resnet18(in_shape: Shape, classes: int, *, width: Count = 64) -> Backbone:
    """PreAct-ResNet-18 for 32x32 images (He et al. 2016); `width` channels in the first stage."""
    widths = [width, 2 * width, 4 * width, 8 * width]
    return preact_backbone(in_shape, classes, stem=width, widths=widths, blocks=2)
