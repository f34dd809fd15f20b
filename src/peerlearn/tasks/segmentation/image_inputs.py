"""Images of one size to segment, and where they are from.

Shape suffixes: N images, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from peerlearn.reading.predictions import Inputs
from peerlearn.tasks.segmentation.data import Tiles

Read = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class ImageInputs(Inputs):
    """Images of one size to segment.

    Attributes:
        names: what to call each of them, with `/` between folders and without suffix.
        height, width: of the images, and of what is predicted for them.
        pictures: reads the images as they are, (N, C, H, W).
        tiles: of each image; None where it is read whole.
    """

    names: tuple[str, ...]
    height: int
    width: int
    pictures: Read
    tiles: Tiles | None = None

    @property
    def steps(self) -> int:
        return len(self.sources) * (1 if self.tiles is None else len(self.tiles))
