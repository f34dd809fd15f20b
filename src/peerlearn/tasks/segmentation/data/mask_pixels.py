"""The pixels of mask files: which label values they hold, and which files hold colours instead.

A mask has one channel. Tools that draw masks in RGB save grey ones with equal channels, which are
read as the grey they show; files of true colours are refused, all of them at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peerlearn.data.account import counted as some_of
from peerlearn.data.image_form import LISTED
from peerlearn.data.images import GREY_MODES, opened_image
from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.labels import Counts, counted

ONE_CHANNEL = (*GREY_MODES, "P")
DRAWN_MODES = ("LA", "RGB", "RGBA")
"""Modes of several channels that may show grey alone; alpha is not read."""
ALLOWED = (
    "allowed for masks: one channel (grey, palette or black and white), or RGB whose channels are "
    "equal; its values are label values, 255 for pixels that do not count"
)

Pixels = NDArray[np.uint8]


class LookedAt(NamedTuple):
    """What a mask file holds.

    Attributes:
        counts: how many pixels of each label value.
        palette: its colours, of a file that has one.
        mode: Pillow's name of its channels.
        coloured: what is wrong with it, where it holds colours rather than label values.
        see_through: whether some of its pixels are not opaque.
    """

    counts: Counts
    palette: bytes | None = None
    mode: str = "L"
    coloured: str = ""
    see_through: bool = False

    @property
    def values(self) -> list[int]:
        """The label values that occur, ascending."""
        occurring: list[int] = self.counts.nonzero()[0].tolist()
        return occurring


def looked_at(path: Path) -> LookedAt:
    """What a mask file holds, whose pixels are all decoded. `DamagedError` where they cannot be."""
    with opened_image(path) as image:
        mode = image.mode
        palette = bytes(image.getpalette("RGB") or []) if mode == "P" else None
        pixels = np.array(image)
    if mode not in (*ONE_CHANNEL, *DRAWN_MODES):
        return LookedAt(np.zeros(256, np.int64), mode=mode, coloured=f"colour mode {mode}")
    coloured = "" if pixels.ndim == 2 or mode == "LA" else _first_colour(pixels, mode)
    clear = mode in ("LA", "RGBA") and bool((pixels[..., -1] != 255).any())
    if clear and not coloured and not _differs(pixels[..., 0]) and _differs(pixels[..., -1]):
        coloured = f"colour mode {mode}, where alpha alone differs, which is not read"
    return LookedAt(counted(grey(pixels)), palette, mode, coloured, clear)


def _differs(channel: Pixels) -> bool:
    return bool((channel != channel[0, 0]).any())


def _first_colour(pixels: Pixels, mode: str) -> str:
    red = pixels[..., :1]
    wrong = (pixels[..., 1:3] != red).any(-1)
    if not wrong.any():
        return ""
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    colour = bytes(pixels[row, column, :3]).hex()
    return f"colour mode {mode}, with #{colour} at row {row}, column {column}"


def grey(pixels: NDArray[np.generic]) -> Pixels:
    """Label values (H, W) of the pixels of a mask whose channels, if several, are equal."""
    return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0]).astype(np.uint8)


def read_labels(path: Path, size: tuple[int, int] | None = None) -> Pixels:
    """Label values of a mask file, uint8 (H, W), resized to (width, height) where given.

    Raises InputError: it cannot be read as an image.
    """
    from PIL.Image import Resampling

    with opened_image(path) as image:
        if size is not None and image.size != size:
            image = image.resize(size, Resampling.NEAREST)
        return grey(np.array(image))


def colour_faults(looked: Mapping[Path, LookedAt]) -> list[str]:
    """What is wrong with mask files that hold colours, a line each, and what is allowed."""
    wrong = [f"{path}: {it.coloured}" for path, it in looked.items() if it.coloured]
    if not wrong:
        return []
    more = len(wrong) - LISTED
    tail = [f"… and {more:,} more masks in colours"] if more > 0 else []
    return [*wrong[:LISTED], *tail, f"{some_of(len(wrong), 'mask')} in colours; {ALLOWED}."]


def told_of_channels(looked: Mapping[Path, LookedAt]) -> tuple[str, ...]:
    """What is told of masks of several channels that are read as grey."""
    drawn = [it for it in looked.values() if it.mode in DRAWN_MODES]
    if not drawn:
        return ()
    modes = [mode for mode in DRAWN_MODES if any(it.mode == mode for it in drawn)]
    what = "grey with alpha" if modes == ["LA"] else f"{' or '.join(modes)} with equal channels"
    among = "" if len(drawn) == len(looked) else f" of {len(looked):,}"
    verb = "is" if len(drawn) == 1 else "are"
    notes = [f"{some_of(len(drawn), 'mask')}{among} {verb} {what}: read as grey"]
    if clear := sum(it.see_through for it in drawn):
        verb = "is" if clear == 1 else "are"
        notes.append(
            f"{some_of(clear, 'mask')}{among} {verb} not opaque everywhere: alpha is not read"
        )
    return tuple(notes)


def check_palettes(looked: Mapping[Path, LookedAt]) -> None:
    """Refuse mask files in which one value has different colours, so that it is not one class.

    Raises InputError: names two of the files, the value and its colours.
    """
    first: dict[int, tuple[str, Path]] = {}
    for path, (counts, palette, *_) in looked.items():
        for value in counts.nonzero()[0].tolist() if palette else ():
            colour = f"#{(palette or b'')[3 * value : 3 * value + 3].hex()}"
            known, other = first.setdefault(value, (colour, path))
            if known != colour:
                raise InputError(
                    f"{path}: value {value} is {colour}, but in {other} it is {known}: palettes "
                    "differ, so a value is not the same class in all masks; save them with one "
                    "palette. data.values=[…] takes values as they are, whatever their colour."
                )


def same_in_all_channels(masks: Sequence[NDArray[np.generic]], axis: int) -> bool:
    """Whether the first three channels of arrays of masks, along an axis, are equal."""
    moved = [np.moveaxis(each, axis, -1) for each in masks]
    return all(bool((each[..., 1:3] == each[..., :1]).all()) for each in moved)
