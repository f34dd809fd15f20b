"""U-Net: an encoder that halves the image, a decoder that doubles it, and skips between the two.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015. As is usual today, convolutions keep the size and are followed by normalisation, so
that logits have the size of the image.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from peerlearn.models.arguments import Count, Levels, Rate
from peerlearn.models.backbone import Shape, initialise
from peerlearn.models.blocks import conv
from peerlearn.models.blocks import dropout as drop
from peerlearn.transfer.outputs import PeerOutput

Norm = Literal["batch", "instance"]


class UNet(nn.Module):
    """Encoder levels with a pooling between two of them, a bottleneck, and decoder levels.

    Sides that are odd are halved upwards, and the decoder crops what comes out too large: images of
    every size pass, none is padded.

    Shapes, with ⌈·⌉ₙ a side halved n − 1 times, rounded up each time:
        input: (batch, channels, height, width)
        logits: (batch, classes, height, width)
        features: `encoderN` and `decoderN` (batch, 2ᴺ⁻¹ width, ⌈height⌉ₙ, ⌈width⌉ₙ), N from 1 to
            `levels`, the decoder's in the order in which they are computed, last level first;
            `bottleneck` of the same form with N = `levels` + 1
    """

    def __init__(
        self, channels: int, classes: int, width: int, levels: int, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.encoder = nn.ModuleDict()
        for n, wide in enumerate(widths, 1):
            self.encoder[f"encoder{n}"] = two_convolutions(channels, wide, norm)
            channels = wide
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.bottleneck = nn.Sequential(
            drop(dropout), two_convolutions(channels, 2 * channels, norm)
        )
        self.up, self.decoder = nn.ModuleDict(), nn.ModuleDict()
        for n, wide in reversed(list(enumerate(widths, 1))):
            self.up[f"decoder{n}"] = nn.ConvTranspose2d(2 * wide, wide, 2, stride=2)
            self.decoder[f"decoder{n}"] = two_convolutions(2 * wide, wide, norm)
        self.classifier = nn.Conv2d(width, classes, 1)
        initialise(self, self.classifier)

    def forward(self, x: Tensor) -> PeerOutput:
        features, skips = {}, []
        for name, level in self.encoder.items():
            features[name] = skip = level(x)
            skips.append(skip)
            x = self.pool(skip)
        x = features["bottleneck"] = self.bottleneck(x)
        for name, level in self.decoder.items():
            skip = skips.pop()
            x = self.up[name](x)[..., : skip.shape[-2], : skip.shape[-1]]
            x = features[name] = level(torch.cat([skip, x], 1))
        return PeerOutput(self.classifier(x), features)


def two_convolutions(channels_in: int, channels: int, norm: Norm) -> nn.Sequential:
    """Twice a 3x3 convolution, normalisation and ReLU."""
    return nn.Sequential(
        *(conv(channels_in, channels, 3), normalisation(norm, channels), nn.ReLU(inplace=True)),
        *(conv(channels, channels, 3), normalisation(norm, channels), nn.ReLU(inplace=True)),
    )


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Over a batch, or over each map of each image alone."""
    # Groups of one channel are instances; torch's instance norm would undo channels_last.
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(channels, channels)


def unet(
    in_shape: Shape,
    classes: int,
    *,
    width: Count = 32,
    levels: Levels = 4,
    norm: Norm = "batch",
    dropout: Rate = 0.0,
) -> UNet:
    """U-Net (Ronneberger et al. 2015); `width` channels at full size, doubled by every pooling.

    Args:
        width: channels of the first level; the paper has 64.
        levels: poolings.
        norm: `batch`, or `instance`, which does not depend on the rest of the batch.
        dropout: rate at the end of the encoder, before the bottleneck.
    """
    return UNet(in_shape[0], classes, width, levels, norm, dropout)
