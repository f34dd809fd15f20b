"""The residual U-Net of MONAI, for those who know it or hold weights of it.

Kerfoot et al., "Left-Ventricle Quantification Using Residual U-Net", STACOM 2018.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models.arguments import Count, Levels, Rate, Units
from peerlearn.models.backbone import Shape
from peerlearn.tasks.segmentation.models.unet import Norm
from peerlearn.transfer.outputs import PeerOutput

if TYPE_CHECKING:
    from monai.networks.nets import UNet


class MonaiUNet(nn.Module):
    """`monai.networks.nets.UNet`, with a stride of 2 at every level, under this library's contract.

    Its own form wants sides that are multiples of 2 to the number of levels: images are padded at
    the right and at the bottom by their last pixels, and the logits cropped.

    Shapes, of a padded image H x W:
        input: (batch, channels, height, width)
        logits: (batch, classes, height, width)
        features: `encoderN` (batch, 2ᴺ⁻¹ width, H / 2ᴺ, W / 2ᴺ), `bottleneck` of the last one's
            size with twice its channels, `decoderN` of the size that `encoderN` reads, last level
            first; `decoder1` would be the logits and is not among them
    """

    def __init__(self, net: "UNet") -> None:
        super().__init__()
        self.net = net
        self.multiple: int = 2 ** len(net.strides)

    def forward(self, x: Tensor) -> PeerOutput:
        height, width = x.shape[-2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        features: dict[str, Tensor] = {}
        levels, lowest = self._parts()
        for n, (down, _up) in enumerate(levels, 1):
            x = features[f"encoder{n}"] = down(x)
        x = features["bottleneck"] = lowest(x)
        for n, (_down, up) in reversed(list(enumerate(levels, 1))):
            x = up(torch.cat([features[f"encoder{n}"], x], 1))
            if n > 1:
                features[f"decoder{n}"] = x
        return PeerOutput(x[..., :height, :width], features)

    def _parts(self) -> tuple[list[tuple[nn.Module, nn.Module]], nn.Module]:
        """The two halves of every level, and the bottom: MONAI nests each around the next."""
        levels, block = [], self.net.model
        for _ in self.net.strides:
            down, skip, up = block
            levels.append((down, up))
            block = skip.submodule
        return levels, block


def monai_unet(
    in_shape: Shape,
    classes: int,
    *,
    width: Count = 32,
    levels: Levels = 4,
    residual_units: Units = 2,
    norm: Norm = "instance",
    dropout: Rate = 0.0,
) -> MonaiUNet:
    """MONAI's residual U-Net (Kerfoot et al. 2018); needs `pip install "peerlearn[segmentation]"`.

    Args:
        width: channels of the first level, doubled by every further one.
        levels: how often height and width are halved.
        residual_units: convolutions of each residual unit of the encoder; 0: plain convolutions.
        norm: `batch` or `instance`.
        dropout: rate in every unit.

    Raises InputError: MONAI is not installed.
    """
    try:
        from monai.networks.nets import UNet
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "monai":
            raise  # something that MONAI itself needs
        raise InputError('needs MONAI: pip install "peerlearn[segmentation]"') from None
    net = UNet(
        spatial_dims=2,
        in_channels=in_shape[0],
        out_channels=classes,
        channels=[width * 2**level for level in range(levels + 1)],
        strides=[2] * levels,
        num_res_units=residual_units,
        norm=norm,
        dropout=dropout,
    )
    return MonaiUNet(net)
