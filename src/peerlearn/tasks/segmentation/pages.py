"""What the report shows of segmentations: test images with what every peer makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peerlearn.report.pictures import Bytes, photograph, read_arrays, unreadable
from peerlearn.report.section import Drawer, Pages, Picture, PictureTable, Section
from peerlearn.report.words import NO_BREAK, printable, who_label
from peerlearn.tasks.segmentation import class_maps

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


def gallery(draw: Drawer) -> Section:
    """Test images, true and predicted classes of the main arms."""
    experiment = draw.experiment
    found = {arm: read_gallery(path) for arm, path in experiment.shown_galleries.items()}
    if not found:
        return Section("gallery", "What peers see")
    several = ", of the first seed" if len(experiment.seeds) > 1 else ""
    lead = f"A few test images{several}. Below each predicted map: how many of the pixels that "
    lead += "count are right"
    names = next(iter(found.values())).class_names
    colours = class_maps.class_colours(names)
    maps = [classes for one in found.values() for classes in (one.truth, one.predicted)]
    seen = set().union(*(np.unique(classes).tolist() for classes in maps))
    legend = enumerate(zip(names, colours, strict=True))
    key = [(name, colour or "") for number, (name, colour) in legend if number in seen]
    if class_maps.NOT_COUNTED in seen:
        key.append(("does not count", "hatched"))
    if any(len(one.who) > 2 for one in found.values()):
        lead += "; below the last one, on how many two peers disagree"
        key.append(("peers disagree", "differing"))
    tables = tuple(_table(arm, one, colours) for arm, one in found.items())
    return Section("gallery", "What peers see", f"{lead}.", key=tuple(key), pictures=tables)


def read_gallery(path: Path) -> Gallery:
    """The gallery of a run that segments.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    arrays = read_arrays(path)
    try:
        found = Gallery(
            index=tuple(int(number) for number in arrays["index"]),
            images=arrays["images"],
            truth=arrays["truth"],
            predicted=arrays["predicted"],
            who=tuple(printable(str(name)) for name in arrays["who"]),
            class_names=tuple(printable(str(name)) for name in arrays["class_names"]),
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
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


def _table(arm: str, gallery: Gallery, colours: Sequence[str | None]) -> PictureTable:
    peers = len(gallery.who) - 1  # the last one is the ensemble
    shown = range(len(gallery.who)) if peers > 1 else range(1)
    titles = [who_label(gallery.who[number]) for number in shown]
    rows = []
    for row, number in enumerate(gallery.index):
        name, truth = f"image {number}", gallery.truth[row]
        counted = truth != class_maps.NOT_COUNTED
        enlarged = max(truth.shape) < LARGEST
        pictures = [
            Picture(photograph(gallery.images[row]), f"Test {name}", "", enlarged),
            Picture(class_maps.class_map(truth, colours), f"True classes of {name}", "", enlarged),
        ]
        for place, title in zip(shown, titles, strict=True):
            classes = gallery.predicted[place, row]
            right = _percent((classes == truth)[counted])
            words = f"Classes of {name} as predicted by {title}, {right} of pixels right"
            pictures.append(Picture(class_maps.class_map(classes, colours), words, right, enlarged))
        if peers > 1:
            shares = class_maps.disagreement(gallery.predicted[:peers, row])
            differ = _percent(shares > 0)
            words = f"Where peers disagree on {name}: {differ} of pixels"
            pictures.append(Picture(class_maps.disagreement_map(shares), words, differ, enlarged))
        rows.append((name, tuple(pictures)))
    columns = ("test image", "truth", *titles, *(["disagreement"] if peers > 1 else []))
    return PictureTable(arm, columns, tuple(rows))


def _percent(found: NDArray[np.bool_]) -> str:
    return f"{100 * found.mean():.0f}{NO_BREAK}%" if found.size else "–"


PAGES = Pages(sections={"classes": (gallery,)})
