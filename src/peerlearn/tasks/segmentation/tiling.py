"""Which images are read whole, and which in tiles."""

from dataclasses import dataclass

from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data import Tiles

WHOLE = 1024
"""Sides up to which every image is read whole, in pixels."""
TIMES = 4
"""Sides up to which it is, in those of the images that the networks were trained on."""
SHARED = 0.25
"""Part of its shorter side that a tile shares with its neighbours, unless said otherwise."""


@dataclass(frozen=True)
class Tiling:
    """What `--tile` and `--overlap` say of images to segment.

    Attributes:
        tile: side of the tiles that every image is read in, where it is smaller filled up by its
            reflection. None: an image is read whole if neither side is above `WHOLE` pixels and
            above `TIMES` that of the training images, and in tiles of their size otherwise.
        overlap: least number of pixels that neighbours share; None for `SHARED` of a tile.

    Raises:
        InputError: a tile without pixels, or an overlap that no tiles can have.
    """

    tile: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 1:
            raise InputError(f"--tile: {self.tile} pixels; allowed: 1 or more")
        if self.overlap is not None and self.overlap < 0:
            raise InputError(f"--overlap: {self.overlap} pixels; allowed: 0 or more")
        if self.tile is not None:
            self._check_overlap(self.tile, self.tile)

    @property
    def option(self) -> str:
        """The option that was given, as typed."""
        return "--tile" if self.tile is not None else "--overlap"

    def tiles(self, height: int, width: int, trained: tuple[int, int]) -> Tiles | None:
        """The tiles of an image, or None to read it whole.

        Args:
            height, width: of the image.
            trained: height and width of the images that the networks were trained on.

        Raises:
            InputError: an overlap as large as a tile of the size of those.
        """
        sides = trained if self.tile is None else (self.tile, self.tile)
        self._check_overlap(*sides)
        sizes = zip((height, width), trained, strict=True)
        small = all(side <= max(WHOLE, TIMES * known) for side, known in sizes)
        if self.tile is None and small:
            return None
        overlap = int(SHARED * min(sides)) if self.overlap is None else self.overlap
        return Tiles(height, width, sides, overlap)

    def _check_overlap(self, tall: int, wide: int) -> None:
        if self.overlap is not None and self.overlap >= min(tall, wide):
            raise InputError(
                f"--overlap: {self.overlap} pixels of tiles of {wide}x{tall}; allowed: 0 to "
                f"{min(tall, wide) - 1}"
            )
