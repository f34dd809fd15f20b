"""Small convolutional network, the fast default for images."""

from torch import nn

from peerlearn.models.arguments import Factor
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import conv_bn_relu, halving_pool, scaled


def cnn(in_shape: Shape, classes: int, *, width: Factor = 1.0) -> Backbone:
    """Three convolutions of 32, 64 and 128 channels, each halved by a max-pool; fast.

    A pool that would go below one pixel is left out.

    Args:
        width: multiplier of every channel count.
    """
    channels, size = in_shape[0], in_shape[1:]
    stages = []
    for wide in (32, 64, 128):
        pool, size = halving_pool(size)
        stages.append(nn.Sequential(conv_bn_relu(channels, scaled(wide, width), 3), pool))
        channels = scaled(wide, width)
    return Backbone(stages, channels, classes)
