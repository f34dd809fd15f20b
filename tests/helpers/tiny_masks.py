"""The smallest runs that segment, and a network for images of one size."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

#: A run of about a second.
TINY_MASKS = [
    *(
        f"peers.{name}={{model: unet, arguments: {{width: 2, levels: 2}}}}"
        for name in ("teacher", "s1", "s2")
    ),
    "compression=null",
    "epochs=2",
    "threads=1",
]
NAMES = ("ground", "tree", "house")
SIDE = 12


def mask_arrays(images: int = 12, size: tuple[int, int] = (SIDE, SIDE), seed: int = 0):
    """Noisy grey images whose brightness tells the class of a pixel; a corner does not count."""
    draw = np.random.default_rng(seed)
    arrays = {"classes": np.array(NAMES)}
    for part in ("train", "val", "test"):
        y = draw.integers(0, 3, (images, *size)).astype(np.uint8)
        y[:, 4:] = y[:, 4:5]
        arrays[f"x_{part}"] = (80 * y + draw.integers(0, 60, y.shape)).astype(np.uint8)
        y[:, 0, 0] = 255
        arrays[f"y_{part}"] = y
    return arrays


class Fixed(nn.Module):
    """A layer over all pixels, for images of one size alone."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.size, self.classes = tuple(shape[1:]), classes
        pixels = shape[1] * shape[2]
        self.all = nn.Linear(shape[0] * pixels, classes * pixels)

    def forward(self, x: Tensor) -> Tensor:
        return self.all(x.flatten(1)).view(-1, self.classes, *self.size)


def fixed(in_shape: Sequence[int], classes: int) -> nn.Module:
    return Fixed(in_shape, classes)
