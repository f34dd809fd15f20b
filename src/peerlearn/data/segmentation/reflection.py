"""Positions outside an image, folded back into it."""

import torch
from torch import Tensor


def reflected(position: Tensor, length: int) -> Tensor:
    """Where a position along an axis is read: mirrored at both edges, as often as it takes.

    Args:
        position: along the axis in pixels, 0 at the first edge and `length` at the last one; the
            centre of pixel i is i + 0.5.
        length: of the axis.

    Shapes:
        position: any, float. The result has its shape, and values in [0, length].
    """
    folded = position.remainder(2 * length)
    return torch.minimum(folded, 2 * length - folded)


def reflected_pixels(position: Tensor, length: int) -> Tensor:
    """Number of the pixel that holds a position, int64, mirrored at both edges."""
    return reflected(position, length).floor().long().clamp_(max=length - 1)
