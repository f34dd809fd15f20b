"""Wide residual networks.

Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016.
"""

from peerlearn.models.arguments import Count, Rate
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import blocks_per_stage
from peerlearn.models.preact_resnet import preact_backbone


def wide_resnet(
    in_shape: Shape,
    classes: int,
    *,
    depth: Count = 28,
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

    Raises:
        InputError: `depth` is not 6n + 4.
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
