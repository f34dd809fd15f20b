"""Contact sheets of the clusters that were found: the images of which networks are surest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peerlearn.compare import figure_gallery as figure
from peerlearn.compare.gallery_file import read_arrays, unreadable
from peerlearn.compare.report_gallery import Picture
from peerlearn.compare.report_words import amount, main_entry, printable

Json = dict[str, Any]

MOST = 40
"""Clusters that a page shows, the largest ones."""
LARGEST = 56
"""Pixels of the page a picture is wide; smaller images are enlarged without blur."""


@dataclass(frozen=True)
class Sheets:
    """`gallery.npz` of a run that discovers classes: K clusters, at most B images of each.

    Shapes:
        images (K, B, H, W) or (K, B, H, W, 3); confidence (K, B), NaN where there is no image;
        sizes (K,); shares (K,) of the most common of `classes`, NaN where nobody knows them.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    images: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    classes: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Sheet:
    """One cluster: its name, what is known of it, and its images."""

    name: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class SheetWall:
    """The clusters of one arm, and how many smaller ones are not shown."""

    arm: str
    sheets: tuple[Sheet, ...]
    hidden: int


def read_sheets(path: Path) -> Sheets | None:
    """The contact sheets of a run; None where it has none.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    arrays = read_arrays(path)
    if arrays is None or "clusters" not in arrays:
        return None
    try:
        found = Sheets(
            names=tuple(printable(str(name)) for name in arrays["clusters"]),
            sizes=tuple(int(size) for size in arrays["sizes"]),
            images=arrays["images"],
            confidence=arrays["confidence"],
            classes=tuple(printable(str(name)) for name in arrays["classes"]),
            shares=tuple(float(share) for share in arrays["shares"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise unreadable(path, str(error)) from error
    if not _fit(found):
        raise unreadable(path, "its arrays do not fit each other")
    return found


def _fit(found: Sheets) -> bool:
    count = len(found.names)
    shape = found.images.shape
    return (
        {len(found.sizes), len(found.classes), len(found.shares)} == {count}
        and (len(shape) == 4 or (len(shape) == 5 and shape[-1] == 3))
        and shape[:2] == found.confidence.shape == (count, found.confidence.shape[-1])
        and found.images.dtype == np.uint8
        and found.confidence.dtype.kind == "f"
    )


def sheet_walls(found: Mapping[str, Sheets], differences: Sequence[Json]) -> tuple[SheetWall, ...]:
    """The main arm and the one it is compared with; the first arm where nothing is compared."""
    main = main_entry(list(differences))
    chosen = [main["arm"], main["against"]] if main else list(found)[:1]
    return tuple(_wall(arm, found[arm]) for arm in chosen if arm in found)


def _wall(arm: str, found: Sheets) -> SheetWall:
    largest = sorted(range(len(found.names)), key=lambda k: -found.sizes[k])[:MOST]
    sheets = tuple(_sheet(found, number) for number in sorted(largest))
    return SheetWall(arm, sheets, len(found.names) - len(sheets))


def _sheet(found: Sheets, number: int) -> Sheet:
    name, size = found.names[number], found.sizes[number]
    notes = [f"{size:,} image" + ("" if size == 1 else "s")]
    if found.classes[number]:
        share = amount(found.shares[number], "accuracy")
        notes.append(f"{share} are {found.classes[number]}")
    shown = np.isfinite(found.confidence[number])
    pictures = tuple(
        Picture(
            figure.photograph(image),
            f"{name}, image {place}, confidence {amount(float(sure), 'accuracy')}",
            enlarged=max(image.shape[:2]) < LARGEST,
        )
        for place, (image, sure) in enumerate(
            zip(found.images[number][shown], found.confidence[number][shown], strict=True), 1
        )
    )
    return Sheet(name, ", ".join(notes), pictures)
