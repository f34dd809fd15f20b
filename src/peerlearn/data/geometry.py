"""Where pixels are read from: positions folded back into an image, and images gathered at them.

Shape suffixes: B batch, C channels, H height, W width, h and w those of the output.
"""

import torch
from torch import Tensor


def reflected(position: Tensor, length: int) -> Tensor:
    """Where a position along an axis is read: mirrored at both edges, as often as it takes.

    Positions are in pixels, floats of any shape, 0 at the first edge and `length` at the last one;
    the centre of pixel i is i + 0.5. The result has their shape, and values in [0, length].
    """
    folded = position.remainder(2 * length)
    return torch.minimum(folded, 2 * length - folded)


def reflected_pixels(position: Tensor, length: int) -> Tensor:
    """Number of the pixel that holds a position, int64, mirrored at both edges."""
    return reflected(position, length).floor().long().clamp_(max=length - 1)


def gathered(x_BCHW: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of each image at its rows and columns, of the type of the image.

    Shapes:
        rows, columns: int64, together (B, h, w); either may have one row or one column.
        Returns (B, C, h, w).
    """
    batch, channels, _, width = x_BCHW.shape
    source_Bhw = rows * width + columns
    pixels_BCP, source_B1P = x_BCHW.reshape(batch, channels, -1), source_Bhw.view(batch, 1, -1)
    moved_BCP = pixels_BCP.gather(2, source_B1P.expand(-1, channels, -1))
    return moved_BCP.view(batch, channels, *source_Bhw.shape[1:])
