"""Class maps as small pictures that stand inside a page.

They are palette images: what is background or agreement is transparent, so that the page, light or
dark, shows through. Everything else has colours that stand out from both.
"""

from collections.abc import Sequence

import numpy as np

from peerlearn.report.pictures import Bytes, data_uri

NOT_COUNTED = 255
# The palette of the figures first; then hues between them, lighter and darker by turns.
CLASS_COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a4fbf"),
    *("#a8a800", "#b03060", "#4f9d3a", "#8c6d46", "#00b0b0", "#f08080", "#4a6fd6"),
    *("#c0a0ff", "#7a8f2a", "#e0559a", "#2f8f8f", "#d9a066", "#9c3f2f"),
)
HATCH = ("#8a8a8a", "#bdbdbd")  # of pixels that do not count
DISAGREEMENT = "#e3007b"  # of no class
BACKGROUND = ("background", "none", "void", "no label")


def class_colours(class_names: Sequence[str]) -> tuple[str | None, ...]:
    """A colour for every class; None, which is transparent, for what is called background."""
    turn = iter(range(len(class_names)))
    return tuple(
        None if name.lower() in BACKGROUND else CLASS_COLOURS[next(turn) % len(CLASS_COLOURS)]
        for name in class_names
    )


def class_map(classes: Bytes, colours: Sequence[str | None]) -> str:
    """A map of classes (H, W), 255 hatched in grey, as a data URI."""
    palette = {number: colour for number, colour in enumerate(colours) if colour is not None}
    shown = classes.copy()
    rows, columns = np.indices(classes.shape)
    width = max(1, max(classes.shape) // 32)
    stripes = ((rows + columns) // width) % 2 == 0
    shown[(classes == NOT_COUNTED) & stripes] = NOT_COUNTED - 1
    return _palette_uri(shown, palette | dict(zip((254, 255), HATCH, strict=True)))


def disagreement(several: Bytes) -> Bytes:
    """Where maps (P, H, W) differ: 0 where all are alike, 255 where no two are.

    Between them, the share of pairs that differ.
    """
    count = len(several)
    differ = sum(
        (several[a] != several[b]).astype(np.float64) for a in range(count) for b in range(a)
    )
    pairs = max(1, count * (count - 1) // 2)
    return np.round(255 * np.asarray(differ) / pairs).astype(np.uint8)


def disagreement_map(shares: Bytes) -> str:
    """A map of `disagreement`, the more opaque the larger, as a data URI."""
    levels = dict.fromkeys(range(1, 256), DISAGREEMENT)
    return _palette_uri(shares, levels, opacity=range(256))


def _palette_uri(
    shown: Bytes, palette: dict[int, str], opacity: Sequence[int] | None = None
) -> str:
    from PIL import Image

    image = Image.fromarray(shown)
    flat = [0] * (3 * 256)
    for number, colour in palette.items():
        flat[3 * number : 3 * number + 3] = bytes.fromhex(colour.removeprefix("#"))
    image.putpalette(flat)
    alpha = [255 if number in palette else 0 for number in range(256)]
    return data_uri(image, transparency=bytes(alpha if opacity is None else opacity))
