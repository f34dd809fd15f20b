"""Feature pyramid network with a head for segmentation.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017; the head: Kirillov,
Girshick, He, Dollár, "Panoptic Feature Pyramid Networks", CVPR 2019, figure 3.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from peerlearn.models.arguments import Count
from peerlearn.models.backbone import Shape, initialise
from peerlearn.models.blocks import conv_bn_relu
from peerlearn.tasks.segmentation.models.encoder import Encoder, resized_like
from peerlearn.transfer.outputs import PeerOutput


class FPN(nn.Module):
    """A residual encoder; a path from its smallest map to its largest; their sum is classified.

    Every level of the pyramid is a 1x1 convolution of its stage plus the level below, enlarged,
    under a 3x3 convolution. `LevelHead` brings the levels to one size, to be added.

    Shapes:
        input: (batch, channels, height, width)
        logits: (batch, classes, height, width), of maps of half that size, enlarged
        features: `stage1` ... `stage4` as in `Encoder`; `bottleneck`, the same map as `stage4`;
            `pyramid`, what is classified, (batch, 2 width, ⌈height / 2⌉, ⌈width / 2⌉)
    """

    def __init__(self, channels: int, classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, width, blocks)
        wide, stages = 2 * width, self.encoder.channels
        self.lateral = nn.ModuleList(nn.Conv2d(stage, wide, 1) for stage in stages)
        self.smooth = nn.ModuleList(nn.Conv2d(wide, wide, 3, padding=1) for _ in stages)
        self.heads = nn.ModuleList(LevelHead(wide, max(1, n)) for n in range(len(stages)))
        self.classifier = nn.Conv2d(wide, classes, 1)
        initialise(self, self.classifier)

    def forward(self, x: Tensor) -> PeerOutput:
        features: dict[str, Tensor] = self.encoder(x)
        levels = self._levels(list(features.values()))
        enlarged = [
            head(level, levels[max(0, n - 1) :: -1])
            for n, (head, level) in enumerate(zip(self.heads, levels, strict=True))
        ]
        features["bottleneck"] = features["stage4"]
        features["pyramid"] = reduce(torch.add, enlarged)
        logits = resized_like(self.classifier(features["pyramid"]), x, "bilinear")
        return PeerOutput(logits, features)

    def _levels(self, stages: list[Tensor]) -> list[Tensor]:
        sums = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        for n in reversed(range(len(sums) - 1)):
            sums[n] = sums[n] + resized_like(sums[n + 1], sums[n], "nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, sums, strict=True)]


class LevelHead(nn.Module):
    """Convolve a level and enlarge it to the next, in so many steps; the largest passes itself."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv_bn_relu(channels, channels, 3) for _ in range(steps))

    def forward(self, level: Tensor, larger: Sequence[Tensor]) -> Tensor:
        for layer, target in zip(self.layers, larger, strict=True):
            level = resized_like(layer(level), target, "bilinear")
        return level


def fpn(in_shape: Shape, classes: int, *, width: Count = 32, blocks: Count = 2) -> FPN:
    """Feature pyramid on a small ResNet (Lin et al. 2017, Kirillov et al. 2019); `width` channels.

    Args:
        width: channels of the first stage of the encoder; all others are multiples of it.
        blocks: residual blocks a stage.
    """
    return FPN(in_shape[0], classes, width, blocks)
