"""Residual networks that normalise and activate before each convolution.

He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016.
"""

from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from peerlearn.models.arguments import Count, Depth, Rate
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import blocks_per_stage, bn_relu, conv, residual_stage
from peerlearn.models.blocks import dropout as dropout_of


class PreActBlock(nn.Module):
    """x + two 3x3 convolutions, each behind its own batch normalisation and ReLU.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    row_wise = "block"

    def __init__(self, channels_in: int, channels: int, stride: int, drop: float = 0.0) -> None:
        super().__init__()
        self.activate = bn_relu(channels_in)
        self.residual = nn.Sequential(
            conv(channels_in, channels, 3, stride),
            bn_relu(channels),
            dropout_of(drop),
            conv(channels, channels, 3),
        )
        same = stride == 1 and channels_in == channels
        self.projection = None if same else conv(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = self.activate(x)
        shortcut = x if self.projection is None else self.projection(active)
        return shortcut + self.residual(active)


def preact_backbone(
    in_shape: Shape, classes: int, *, stem: int, widths: list[int], blocks: int, drop: float = 0.0
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


def wide_resnet(
    in_shape: Shape,
    classes: int,
    *,
    depth: Depth = 28,
    widen: Count = 10,
    width: Count = 16,
    dropout: Rate = 0.0,
) -> Backbone:
    """WRN-depth-widen for 32x32 images (Zagoruyko and Komodakis 2016); depth is 6n + 4.

    Args:
        depth: number of convolutions, 6n + 4: three stages of n pre-activation blocks.
        widen: multiplier of the stages' 1, 2 and 4 times `width` channels.
        width: channels of the stem; the paper has 16.
        dropout: rate between the two convolutions of a block.

    Raises InputError: `depth` is not 6n + 4.
    """
    return preact_backbone(
        in_shape,
        classes,
        stem=width,
        widths=[width * widen, 2 * width * widen, 4 * width * widen],
        blocks=blocks_per_stage(depth, extra=4),
        drop=dropout,
    )


def wrn16_2(
    in_shape: Shape, classes: int, *, widen: Count = 2, width: Count = 16, dropout: Rate = 0.0
) -> Backbone:
    """WRN-16-2 for 32x32 images (Zagoruyko and Komodakis 2016)."""
    return wide_resnet(in_shape, classes, depth=16, widen=widen, width=width, dropout=dropout)


def wrn28_10(
    in_shape: Shape, classes: int, *, widen: Count = 10, width: Count = 16, dropout: Rate = 0.0
) -> Backbone:
    """WRN-28-10 for 32x32 images (Zagoruyko and Komodakis 2016)."""
    return wide_resnet(in_shape, classes, depth=28, widen=widen, width=width, dropout=dropout)
