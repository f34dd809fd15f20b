"""Maps brought to the size of other maps."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def resized_like(x: Tensor, like: Tensor, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """`x` at the height and width of `like`.

    Shapes:
        x: (batch, channels, height, width). Returns the same with the sides of `like`.
    """
    if x.shape[-2:] == like.shape[-2:]:
        return x
    corners = False if mode == "bilinear" else None
    return F.interpolate(x, like.shape[-2:], mode=mode, align_corners=corners)
