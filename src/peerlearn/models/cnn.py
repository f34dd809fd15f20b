"""Small convolutional network, the fast default for images."""

from peerlearn.models.arguments import Factor
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.vgg import vgg


def cnn(in_shape: Shape, classes: int, *, width: Factor = 1.0) -> Backbone:
    """Three convolutions of 32, 64 and 128 channels, each halved by a max-pool; fast.

    A pool that would go below one pixel is left out.

    Args:
        width: multiplier of every channel count.
    """
    return vgg(in_shape, classes, convolutions=(1, 1, 1), channels=(32, 64, 128), width=width)
