"""VGG networks with batch normalisation for 32x32 images.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, configurations A, B, D and E. As is usual at this image size the classifier reads the last
map itself; `hidden=4096` puts the paper's two hidden layers back.
"""

from collections.abc import Sequence

from torch import nn

from peerlearn.models.arguments import Factor, Size
from peerlearn.models.backbone import Backbone, Shape, global_average_pool
from peerlearn.models.blocks import conv_bn_relu, halving_pool, scaled


def vgg(
    in_shape: Shape,
    classes: int,
    *,
    convolutions: Sequence[int],
    channels: Sequence[int] = (64, 128, 256, 512, 512),
    width: float = 1.0,
    hidden: int = 0,
) -> Backbone:
    """Stages of 3x3 convolutions, each ending in a max-pool.

    A pool that would go below one pixel is left out, so that images of any size pass.

    Args:
        convolutions: their number in each stage.
        channels: of each stage.
        width: multiplier of every channel count.
        hidden: units of two hidden layers with dropout 0.5 before the classifier; 0 for none.
    """
    before, size = in_shape[0], in_shape[1:]
    stages = []
    for wide, count in zip(channels, convolutions, strict=True):
        stage = nn.Sequential()
        for _ in range(count):
            stage.append(conv_bn_relu(before, scaled(wide, width), 3))
            before = scaled(wide, width)
        pool, size = halving_pool(size)
        stages.append(stage.append(pool))
    pool = global_average_pool()
    for units_in in (before, hidden) if hidden else ():
        pool = nn.Sequential(pool, nn.Linear(units_in, hidden), nn.ReLU(), nn.Dropout(0.5))
    return Backbone(stages, hidden or before, classes, pool=pool)


def vgg11_bn(in_shape: Shape, classes: int, *, width: Factor = 1.0, hidden: Size = 0) -> Backbone:
    """VGG-11 with batch normalisation for 32x32 images (Simonyan and Zisserman 2015)."""
    return vgg(in_shape, classes, convolutions=(1, 1, 2, 2, 2), width=width, hidden=hidden)


def vgg13_bn(in_shape: Shape, classes: int, *, width: Factor = 1.0, hidden: Size = 0) -> Backbone:
    """VGG-13 with batch normalisation for 32x32 images (Simonyan and Zisserman 2015)."""
    return vgg(in_shape, classes, convolutions=(2, 2, 2, 2, 2), width=width, hidden=hidden)


def vgg16_bn(in_shape: Shape, classes: int, *, width: Factor = 1.0, hidden: Size = 0) -> Backbone:
    """VGG-16 with batch normalisation for 32x32 images (Simonyan and Zisserman 2015)."""
    return vgg(in_shape, classes, convolutions=(2, 2, 3, 3, 3), width=width, hidden=hidden)


def vgg19_bn(in_shape: Shape, classes: int, *, width: Factor = 1.0, hidden: Size = 0) -> Backbone:
    """VGG-19 with batch normalisation for 32x32 images (Simonyan and Zisserman 2015)."""
    return vgg(in_shape, classes, convolutions=(2, 2, 4, 4, 4), width=width, hidden=hidden)


def cnn(in_shape: Shape, classes: int, *, width: Factor = 1.0) -> Backbone:
    """Three convolutions of 32, 64 and 128 channels, each halved by a max-pool; fast.

    A pool that would go below one pixel is left out.

    Args:
        width: multiplier of every channel count.
    """
    return vgg(in_shape, classes, convolutions=(1, 1, 1), channels=(32, 64, 128), width=width)
