"""Residual networks for 32x32 images.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from peerlearn.models.arguments import Count, Depth
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import blocks_per_stage, conv_bn, conv_bn_relu, residual_stage


class BasicBlock(nn.Module):
    """relu(shortcut(x) + two 3x3 convolutions of x).

    Where the shape changes, the shortcut takes every `stride`-th pixel and pads the new channels
    with zeros (the paper's option A): no parameters, as in the paper's results on CIFAR.
    """

    row_wise = "block"

    def __init__(self, channels_in: int, channels: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = channels - channels_in
        self.residual = nn.Sequential(
            conv_bn_relu(channels_in, channels, 3, stride=stride, dilation=dilation),
            conv_bn(channels, channels, 3, dilation=dilation),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.residual(x))

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        # A pool over single pixels subsamples like a slice, and its gradient keeps channels_last.
        sampled = F.avg_pool2d(x, 1, self.stride)
        return F.pad(sampled, (0, 0, 0, 0, 0, self.new_channels))


def resnet(in_shape: Shape, classes: int, *, depth: Depth, width: Count = 16) -> Backbone:
    """Residual network of 6n + 2 layers: three stages of n blocks, `width` x (1, 2, 4) channels.

    Raises InputError: `depth` is not 6n + 2.
    """
    return _residual(in_shape, classes, width, stages=3, blocks=blocks_per_stage(depth, extra=2))


def _residual(in_shape: Shape, classes: int, width: int, stages: int, blocks: int) -> Backbone:
    """`stages` of `blocks`; each but the first halves the image and doubles the channels."""
    widths = [width * 2**number for number in range(stages)]
    built = [
        residual_stage(BasicBlock, channels, wide, blocks, 2 if n else 1)
        for n, (channels, wide) in enumerate(pairwise([width, *widths]))
    ]
    return Backbone(built, widths[-1], classes, stem=conv_bn_relu(in_shape[0], width, 3))


def resnet8(in_shape: Shape, classes: int, *, width: Count = 16) -> Backbone:
    """ResNet-8: residual network with one block a stage; `width` channels in the first stage."""
    return resnet(in_shape, classes, depth=8, width=width)


def resnet18(in_shape: Shape, classes: int, *, width: Count = 64) -> Backbone:
    """ResNet-18 for 32x32 images: four stages of two blocks, `width` channels in the first."""
    return _residual(in_shape, classes, width, stages=4, blocks=2)


def resnet20(in_shape: Shape, classes: int, *, width: Count = 16) -> Backbone:
    """ResNet-20 for 32x32 images (He et al. 2016); `width` channels in the first stage."""
    return resnet(in_shape, classes, depth=20, width=width)


def resnet32(in_shape: Shape, classes: int, *, width: Count = 16) -> Backbone:
    """ResNet-32 for 32x32 images (He et al. 2016); `width` channels in the first stage."""
    return resnet(in_shape, classes, depth=32, width=width)


def resnet56(in_shape: Shape, classes: int, *, width: Count = 16) -> Backbone:
    """ResNet-56 for 32x32 images (He et al. 2016); `width` channels in the first stage."""
    return resnet(in_shape, classes, depth=56, width=width)
