"""Large images in overlapping tiles, whose predictions are blended without seams.

Near the border of its tile a network sees less of what is around a pixel, so its prediction counts
less there: the weight of a tile falls off smoothly over its overlap with the next one.

Shape suffixes: T tiles, B tiles of a batch, C channels, K predicted numbers a pixel, H height,
W width, h and w those of a tile.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.data.augment import reflected_pixels
from peerlearn.data.spec import sides
from peerlearn.errors import InputError

WHOLE = 1024
"""Sides up to which every image is read whole, in pixels."""
TIMES = 4
"""Sides up to which it is, in those of the images that the networks were trained on."""
SHARED = 0.25
"""Part of its shorter side that a tile shares with its neighbours, unless said otherwise."""


@dataclass(frozen=True)
class Tiles:
    """The tiles of images of one height and width, row by row.

    Neighbours overlap by at least `overlap` pixels, which is below the side of a `tile` (or its
    height and width); tiles lie as evenly as they can. A tile that is larger than the image holds
    its reflection around it.

    Raises InputError: a size below 1, or an overlap that no tiles can have.
    """

    height: int
    width: int
    tile: int | tuple[int, int]
    overlap: int

    def __post_init__(self) -> None:
        if min(self.height, self.width, *sides(self.tile)) < 1:
            raise InputError(f"tile: {self.tile} of {self.height}x{self.width}; allowed: from 1.")
        if not 0 <= self.overlap < min(sides(self.tile)):
            raise InputError(
                f"overlap: {self.overlap} pixels of tiles of {self.tile}; allowed: 0 to "
                f"{min(sides(self.tile)) - 1}."
            )

    @property
    def corners(self) -> list[tuple[int, int]]:
        """(row, column) of the first pixel of each tile; negative where it sticks out."""
        down, right = (
            _starts(length, side, self.overlap)
            for length, side in zip((self.height, self.width), sides(self.tile), strict=True)
        )
        return [(row, column) for row in down for column in right]

    def __len__(self) -> int:
        return len(self.corners)

    def cut(self, image_CHW: Tensor, index: Sequence[int] | None = None) -> Tensor:
        """Tiles of an image, (B, C, h, w): those at `index`, or all.

        Raises InputError: an image of another height and width.
        """
        if tuple(image_CHW.shape[1:]) != (self.height, self.width):
            raise InputError(
                f"image: {image_CHW.shape[1]}x{image_CHW.shape[2]} pixels; these tiles are of "
                f"{self.height}x{self.width}."
            )
        corners, (tall, wide), tiles = self.corners, sides(self.tile), []
        for row, column in corners if index is None else [corners[number] for number in index]:
            lines_ChW = image_CHW[:, _pixels(row, tall, self.height)]
            tiles.append(lines_ChW[:, :, _pixels(column, wide, self.width)])
        return torch.stack(tiles)

    def blend(self, parts: Iterable[Tensor]) -> Tensor:
        """The weighted mean, (K, H, W), of what was predicted for all tiles in order.

        `parts` are float (B, K, h, w), batches of one tile or more, read one after the other.
        """
        window_hw = _window(sides(self.tile), self.overlap)
        total_KHW, weight_HW = torch.zeros(0), torch.zeros(self.height, self.width)
        tiles = (tile_Khw for part in parts for tile_Khw in part)
        for (row, column), tile_Khw in zip(self.corners, tiles, strict=True):
            if not len(total_KHW):
                total_KHW = tile_Khw.new_zeros(len(tile_Khw), self.height, self.width)
                window_hw, weight_HW = window_hw.to(tile_Khw), weight_HW.to(tile_Khw)
            rows, inner_rows = _inside(row, window_hw.shape[0], self.height)
            columns, inner_columns = _inside(column, window_hw.shape[1], self.width)
            weight = window_hw[inner_rows, inner_columns]
            total_KHW[:, rows, columns] += weight * tile_Khw[:, inner_rows, inner_columns]
            weight_HW[rows, columns] += weight
        return total_KHW / weight_HW


@dataclass(frozen=True)
class Tiling:
    """What `--tile` and `--overlap` say of images to segment.

    Attributes:
        tile: side of the tiles that every image is read in, where it is smaller filled up by its
            reflection. None: an image is read whole if neither side is above `WHOLE` pixels and
            above `TIMES` that of the training images, and in tiles of their size otherwise.
        overlap: least number of pixels that neighbours share; None for `SHARED` of a tile.

    Raises InputError: a tile without pixels, or an overlap that no tiles can have.
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

    def tiles(self, height: int, width: int, trained: tuple[int, int]) -> Tiles | None:
        """The tiles of an image, or None to read it whole.

        `trained` is the height and width of the images that the networks were trained on.

        Raises InputError: an overlap as large as a tile of the size of those.
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


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [-((side - length) // 2)]
    steps = math.ceil((length - side) / (side - overlap))
    return [step * (length - side) // steps for step in range(steps + 1)]


def _pixels(start: int, side: int, length: int) -> Tensor:
    return reflected_pixels(torch.arange(start, start + side) + 0.5, length)


def _inside(start: int, side: int, length: int) -> tuple[slice, slice]:
    """What a tile covers along an axis, as part of the image and as part of the tile."""
    first, last = max(start, 0), min(start + side, length)
    return slice(first, last), slice(first - start, last - start)


def _window(tile: tuple[int, int], overlap: int) -> Tensor:
    """Weights (h, w) of the pixels of a tile: sin² ramps as long as the overlap, never 0.

    The ramps of two neighbours with just this overlap add up to 1.
    """
    ramps = []
    for side in tile:
        place = torch.arange(side) + 0.5
        inward = torch.minimum(place, side - place) / max(overlap, 0.5)
        ramps.append(torch.sin(inward.clamp(max=1) * (math.pi / 2)).square())
    return ramps[0][:, None] * ramps[1]
