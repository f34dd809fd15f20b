"""MobileNet v1 for 32x32 images.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017, arXiv 1704.04861.
"""

from torch import nn

from peerlearn.models.arguments import Factor
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import conv_bn_relu, scaled

# Channels of each block, a row per stage. The first block of every row but the first halves the
# image. The paper's stem does so too; at 32x32 that resolution is needed later.
STAGES = ((64,), (128, 128), (256, 256), (512, 512, 512, 512, 512, 512), (1024, 1024))


def separable(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across channels."""
    return nn.Sequential(
        conv_bn_relu(channels_in, channels_in, 3, stride=stride, groups=channels_in),
        conv_bn_relu(channels_in, channels, 1),
    )


def mobilenet(in_shape: Shape, classes: int, *, width: Factor = 1.0) -> Backbone:
    """MobileNet v1 for 32x32 images (Howard et al. 2017).

    Args:
        width: the paper's width multiplier, of every channel count.
    """
    stem = channels = scaled(32, width)
    stages = []
    for n, row in enumerate(STAGES):
        stage = nn.Sequential()
        for m, wide in enumerate(row):
            stage.append(separable(channels, scaled(wide, width), 2 if n and m == 0 else 1))
            channels = scaled(wide, width)
        stages.append(stage)
    return Backbone(stages, channels, classes, stem=conv_bn_relu(in_shape[0], stem, 3))
