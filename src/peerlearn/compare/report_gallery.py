"""Test images with what every peer makes of them, as a table of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peerlearn.compare import figure_gallery as figure
from peerlearn.compare.gallery_file import read_arrays, unreadable
from peerlearn.compare.report_words import NO_BREAK, main_entry, printable, who_label

Json = dict[str, Any]
Bytes = NDArray[np.uint8]

LARGEST = 132  # pixels of the page a picture is wide; smaller images are enlarged without blur


@dataclass(frozen=True)
class Gallery:
    """`gallery.npz` of a run that segments.

    Shapes:
        index (B,); images (B, H, W) or (B, H, W, 3); truth (B, H, W), 255 does not count;
        predicted (M, B, H, W), one for each of `who`, the ensemble last.
    """

    index: tuple[int, ...]
    images: Bytes
    truth: Bytes
    predicted: Bytes
    who: tuple[str, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """One cell: a picture, what it shows in words, and a number below it."""

    uri: str
    words: str
    note: str = ""
    enlarged: bool = False


@dataclass(frozen=True)
class Wall:
    """The pictures of one arm: a row for every image."""

    arm: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class Exhibition:
    """The pictures of a study, and what their colours mean.

    Attributes:
        legend: class and colour; None is what shows the page.
        uncounted: whether some pixels do not count.
    """

    walls: tuple[Wall, ...]
    legend: tuple[tuple[str, str | None], ...]
    uncounted: bool
    compared: bool


def read_gallery(path: Path) -> Gallery | None:
    """The gallery of a run that segments; None where it has none.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    arrays = read_arrays(path)
    if arrays is None or "clusters" in arrays:  # contact sheets
        return None
    try:
        found = Gallery(
            index=tuple(int(number) for number in arrays["index"]),
            images=arrays["images"],
            truth=arrays["truth"],
            predicted=arrays["predicted"],
            who=tuple(printable(str(name)) for name in arrays["who"]),
            class_names=tuple(printable(str(name)) for name in arrays["class_names"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise unreadable(path, str(error)) from error
    count, size = len(found.index), found.truth.shape
    fits = (
        found.images.shape in (size, (*size, 3))
        and found.predicted.shape == (len(found.who), *size)
        and size[:1] == (count,)
        and len(size) == 3
        and {a.dtype for a in (found.images, found.truth, found.predicted)} == {np.dtype("uint8")}
    )
    if not fits or not found.who:
        raise unreadable(path, "its arrays do not fit each other")
    return found


def exhibition(galleries: dict[str, Gallery], differences: Sequence[Json]) -> Exhibition | None:
    """The main arm and the one it is compared with; the first arm where nothing is compared.

    None where none of them has a gallery.
    """
    main = main_entry(differences)
    chosen = [main["arm"], main["against"]] if main else list(galleries)[:1]
    shown = {arm: galleries[arm] for arm in chosen if arm in galleries}
    if not shown:
        return None
    names = next(iter(shown.values())).class_names
    colours = figure.class_colours(names)
    legend = enumerate(zip(names, colours, strict=True))
    seen = set().union(
        *(np.unique(maps).tolist() for g in shown.values() for maps in (g.truth, g.predicted))
    )
    return Exhibition(
        tuple(_wall(arm, gallery, colours) for arm, gallery in shown.items()),
        tuple(pair for number, pair in legend if number in seen),
        figure.NOT_COUNTED in seen,
        any(len(gallery.who) > 2 for gallery in shown.values()),
    )


def _wall(arm: str, gallery: Gallery, colours: Sequence[str | None]) -> Wall:
    peers = len(gallery.who) - 1  # the last one is the ensemble
    shown = range(len(gallery.who)) if peers > 1 else range(1)
    titles = [who_label(gallery.who[number]) for number in shown]
    rows = []
    for row, number in enumerate(gallery.index):
        name, truth = f"image {number}", gallery.truth[row]
        counted = truth != figure.NOT_COUNTED
        enlarged = max(truth.shape) < LARGEST
        pictures = [
            Picture(figure.photograph(gallery.images[row]), f"Test {name}", "", enlarged),
            Picture(figure.class_map(truth, colours), f"True classes of {name}", "", enlarged),
        ]
        for place, title in zip(shown, titles, strict=True):
            classes = gallery.predicted[place, row]
            right = _percent((classes == truth)[counted])
            words = f"Classes of {name} as predicted by {title}, {right} of pixels right"
            pictures.append(Picture(figure.class_map(classes, colours), words, right, enlarged))
        if peers > 1:
            shares = figure.disagreement(gallery.predicted[:peers, row])
            differ = _percent(shares > 0)
            words = f"Where peers disagree on {name}: {differ} of pixels"
            pictures.append(Picture(figure.disagreement_map(shares), words, differ, enlarged))
        rows.append((name, tuple(pictures)))
    columns = ("test image", "truth", *titles, *(["disagreement"] if peers > 1 else []))
    return Wall(arm, columns, tuple(rows))


def _percent(found: NDArray[np.bool_]) -> str:
    return f"{100 * found.mean():.0f}{NO_BREAK}%" if found.size else "–"
