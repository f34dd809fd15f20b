"""The one contract of every built-in network: stages, a pooled vector, a linear classifier."""

from collections.abc import Sequence

from torch import Tensor, nn

from peerlearn.transfer.outputs import PeerOutput

Shape = tuple[int, ...]
"""Shape of one sample: (C, H, W) for images, (F,) for vectors."""


class Backbone(nn.Module):
    """Run `stem`, then each stage, pool the last map and classify it linearly.

    Every stage leaves its output in `PeerOutput.features` as `stage1`, `stage2`, ...; `pooled` is
    what the classifier reads.

    Args:
        stages: the parts whose outputs other peers may want to see, first to last.
        pooled: size of the vector that `pool` makes of the last stage's output.
        classes: number of logits.
        stem: what comes before the first stage.
        pool: map to vector; by default the mean over height and width.

    Shapes:
        input: (batch, *in_shape)
        logits: (batch, classes)
        features: `stageN` (batch, channels, height, width), or (batch, units) in an MLP;
            `pooled` (batch, pooled)
    """

    row_wise = "chain"

    def __init__(
        self,
        stages: Sequence[nn.Module],
        pooled: int,
        classes: int,
        *,
        stem: nn.Module | None = None,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem or nn.Identity()
        self.stages = nn.ModuleDict({f"stage{n}": stage for n, stage in enumerate(stages, 1)})
        self.pool = pool or global_average_pool()
        self.classifier = nn.Linear(pooled, classes)
        initialise(self, self.classifier)

    def forward(self, x: Tensor) -> PeerOutput:
        features = {}
        x = self.stem(x)
        for name, stage in self.stages.items():
            x = features[name] = stage(x)
        x = features["pooled"] = self.pool(x)
        return PeerOutput(self.classifier(x), features)


def global_average_pool() -> nn.Module:
    """(batch, channels, height, width) to (batch, channels)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def initialise(network: nn.Module, classifier: nn.Module) -> None:
    """Draw every weight from torch's global generator, so that a seeded caller decides them.

    Layers that feed a ReLU: N(0, 2 / fan_in) (He et al. 2015); `classifier` and up-convolutions,
    which feed none: N(0, 1 / fan_in). Biases 0; batch normalisation starts as the identity. On the
    `meta` device, where networks are built to be measured, there is nothing to draw.
    """
    if any(weight.is_meta for weight in classifier.parameters()):
        return
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Fan-in, because torch overcounts the fan-out of a depthwise layer by its channels.
            linear = layer is classifier
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if linear else "relu")
        elif isinstance(layer, nn.ConvTranspose2d):
            # Where the stride is the kernel, every output reads one pixel of each channel.
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            continue
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
