"""DeepLabv3+: one map seen at several distances, sharpened by an early one.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018; with plain instead of separable convolutions.
"""

import torch
from torch import Tensor, nn

from peerlearn.models.arguments import Count
from peerlearn.models.backbone import Shape, initialise
from peerlearn.models.blocks import conv_bn_relu
from peerlearn.tasks.segmentation.models.encoder import Encoder, resized_like
from peerlearn.transfer.outputs import PeerOutput


class AtrousPyramid(nn.Module):
    """Convolutions of one map at several dilations, and its mean, joined by a 1x1 convolution."""

    def __init__(self, channels_in: int, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        dilated = (conv_bn_relu(channels_in, channels, 3, dilation=rate) for rate in rates)
        self.branches = nn.ModuleList([conv_bn_relu(channels_in, channels, 1), *dilated])
        # No batch normalisation: it has no variance over the mean map of a single image.
        self.image = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels_in, channels, 1), nn.ReLU(inplace=True)
        )
        self.join = conv_bn_relu((2 + len(rates)) * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = [branch(x) for branch in self.branches]
        joined: Tensor = self.join(torch.cat([*seen, self.image(x).expand_as(seen[0])], 1))
        return joined


class DeepLab(nn.Module):
    """A residual encoder, an atrous pyramid on its last map, and a decoder with its first.

    Shapes:
        input: (batch, channels, height, width)
        logits: (batch, classes, height, width), of maps of half that size, enlarged
        features: `stage1` ... `stage4` as in `Encoder`, the last two of one size; `bottleneck`,
            the same map as `stage4`; `pyramid` (batch, 4 width, ⌈height / 8⌉, ⌈width / 8⌉);
            `decoder`, what is classified, (batch, 2 width, ⌈height / 2⌉, ⌈width / 2⌉)
    """

    def __init__(
        self, channels: int, classes: int, width: int, blocks: int, rates: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, width, blocks, last_stride=1)
        first, *_, last = self.encoder.channels
        self.pyramid = AtrousPyramid(last, 4 * width, rates)
        self.early = conv_bn_relu(first, width, 1)
        self.decoder = nn.Sequential(
            conv_bn_relu(5 * width, 2 * width, 3), conv_bn_relu(2 * width, 2 * width, 3)
        )
        self.classifier = nn.Conv2d(2 * width, classes, 1)
        initialise(self, self.classifier)

    def forward(self, x: Tensor) -> PeerOutput:
        features: dict[str, Tensor] = self.encoder(x)
        features["bottleneck"] = features["stage4"]
        features["pyramid"] = self.pyramid(features["stage4"])
        early = self.early(features["stage1"])
        late = resized_like(features["pyramid"], early, "bilinear")
        features["decoder"] = self.decoder(torch.cat([early, late], 1))
        logits = resized_like(self.classifier(features["decoder"]), x, "bilinear")
        return PeerOutput(logits, features)


def deeplab(
    in_shape: Shape,
    classes: int,
    *,
    width: Count = 32,
    blocks: Count = 2,
    rates: tuple[Count, ...] = (2, 4, 6),
) -> DeepLab:
    """DeepLabv3+ on a small ResNet (Chen et al. 2018); `width` channels in its first stage.

    Args:
        width, blocks: as in `fpn`.
        rates: dilations of the atrous pyramid, in pixels of maps of an eighth of the image; the
            paper's 12, 24, 36 are for images of 513 pixels, those here for about 150.
    """
    return DeepLab(in_shape[0], classes, width, blocks, rates)
