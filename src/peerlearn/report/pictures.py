"""Images as they are shown in reports."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def visible(x: Tensor) -> NDArray[np.uint8]:
    """Images (B, C, H, W) of any type in a byte a channel: three channels as RGB, else the first.

    Floats are stretched from the smallest to the largest value of each image.
    """
    shown = x[:, :3] if x.shape[1] >= 3 else x[:, :1]
    if shown.dtype != torch.uint8:
        values = shown.float().nan_to_num()
        low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
        shown = (255 * (values - low) / (high - low).clamp_min(1e-12)).round().to(torch.uint8)
    return (shown.permute(0, 2, 3, 1) if shown.shape[1] == 3 else shown[:, 0]).numpy()
