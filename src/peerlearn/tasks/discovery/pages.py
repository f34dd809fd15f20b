"""What the report shows of discovered classes: images of every cluster, and pseudo-labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peerlearn.metrics.catalogue import ACCURACY, Catalogue
from peerlearn.report.experiment import is_value, mean_and_std
from peerlearn.report.figures import INK, Style, new_figure, number_axis, shorten
from peerlearn.report.pictures import photograph, read_arrays, unreadable
from peerlearn.report.section import Drawer, Pages, Picture, Section, Strip, Strips
from peerlearn.report.words import amount, joined, printable, who_label
from peerlearn.tasks.discovery.metrics.assessment import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 40
"""Clusters that a page shows, the largest ones."""
LARGEST = 56
"""Pixels of the page a picture is wide; smaller images are enlarged without blur."""
_PRECISION, _RECALL = (Catalogue(METRICS)[name] for name in ("pair_precision", "pair_recall"))


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


def clusters(draw: Drawer) -> Section:
    """Images of every cluster of the main arms."""
    experiment = draw.experiment
    found = {arm: read_sheets(path) for arm, path in experiment.shown_galleries.items()}
    several = "; of the first seed" if len(experiment.seeds) > 1 else ""
    lead = (
        "The unlabelled images of every cluster of which the ensemble is surest, the surest "
        f"first{several}."
    )
    strips = tuple(strips_of(arm, sheets) for arm, sheets in found.items())
    return Section("clusters", "Clusters found", lead, strips=strips)


def read_sheets(path: Path) -> Sheets:
    """The contact sheets of a run.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    arrays = read_arrays(path)
    try:
        found = Sheets(
            names=tuple(printable(str(name)) for name in arrays["clusters"]),
            sizes=tuple(int(size) for size in arrays["sizes"]),
            images=arrays["images"],
            confidence=arrays["confidence"],
            classes=tuple(printable(str(name)) for name in arrays["classes"]),
            shares=tuple(float(share) for share in arrays["shares"]),
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
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
        and found.confidence.ndim == 2
        and shape[:2] == found.confidence.shape
        and len(found.confidence) == count
        and found.images.dtype == np.uint8
        and found.confidence.dtype.kind == "f"
    )


def strips_of(arm: str, found: Sheets) -> Strips:
    """The largest clusters, in their order."""
    largest = sorted(range(len(found.names)), key=lambda k: -found.sizes[k])[:MOST]
    strips = tuple(_strip(found, number) for number in sorted(largest))
    return Strips(arm, strips, len(found.names) - len(strips))


def _strip(found: Sheets, number: int) -> Strip:
    name, size = found.names[number], found.sizes[number]
    notes = [f"{size:,} image" + ("" if size == 1 else "s")]
    if found.classes[number]:
        notes.append(f"{amount(found.shares[number], ACCURACY)} are {found.classes[number]}")
    shown = np.isfinite(found.confidence[number])
    surest = zip(found.images[number][shown], found.confidence[number][shown], strict=True)
    pictures = tuple(
        Picture(
            photograph(image),
            f"{name}, image {place}, confidence {amount(float(confidence), ACCURACY)}",
            enlarged=max(image.shape[:2]) < LARGEST,
        )
        for place, (image, confidence) in enumerate(surest, 1)
    )
    return Strip(name, ", ".join(notes), pictures)


class Pairs(NamedTuple):
    """How right one peer's pseudo-labels are, each with the deviation over seeds.

    Attributes:
        recall: of the pairs that are of one class, the share that is said to be.
        precision: of the pairs that are said to be of one class, the share that is.
        style: of the arm.
        name: written beside the mark.
    """

    recall: tuple[float, float]
    precision: tuple[float, float]
    style: Style
    name: str = ""


def pairs(draw: Drawer) -> Section:
    """How right pseudo-labels of pairs are: one figure of all peers, or one a peer."""
    experiment = draw.experiment
    several = len(experiment.arms) > 1
    found = {
        (arm, peer): Pairs(
            mean_and_std(metrics[_RECALL.name]),
            mean_and_std(metrics[_PRECISION.name]),
            draw.styles[arm],
            "" if several else peer,
        )
        for arm, block in experiment.arms.items()
        for peer, metrics in block["peers"].items()
        if all(is_value(metrics.get(metric.name)) for metric in (_RECALL, _PRECISION))
    }
    widest = max((sum(one.recall) for one in found.values()), default=0.0) or 1.0
    charts = []
    for name in experiment.peers if several else [""]:
        here = {key: one for key, one in found.items() if key[1] == name or not several}
        if not here:
            continue
        title = who_label(name) if several else joined(peer for _, peer in here)
        shares = "; ".join(
            f"{arm if several else peer} {amount(one.precision[0], _PRECISION)} and "
            f"{amount(one.recall[0], _RECALL)}"
            for (arm, peer), one in here.items()
        )
        caption = f"Precision and recall: {shares}."
        figure = partial(draw_pairs, list(here.values()), widest)
        charts.append(draw.chart("Pseudo-labels of pairs,", title, caption, figure))
    lead = (
        "Two unlabelled rows are taken to be of one class, or not: how often that is right "
        "(precision), and how many of the pairs of one class are found (recall)."
    )
    if any(len(seeds) > 1 for seeds in experiment.epochs.values()):
        lead += " Bars: one standard deviation over seeds."
    return Section("pairs", "Pseudo-labels of pairs", lead, tuple(charts))


def draw_pairs(several: Sequence[Pairs], widest: float) -> "Figure":
    """A mark for each, with bars of one standard deviation over seeds.

    Args:
        several: what to draw.
        widest: the largest recall of the axis, so that several figures can be compared.
    """
    figure = new_figure(2.4)
    axes = figure.add_subplot()
    for recall, precision, style, name in several:
        axes.errorbar(
            recall[0],
            precision[0],
            xerr=recall[1] or None,
            yerr=precision[1] or None,
            color=style.colour,
            marker=style.marker,
            markersize=6.5,
            elinewidth=1.2,
        )
        left = recall[0] > widest / 2
        axes.annotate(
            shorten(name, 20),
            (recall[0], precision[0]),
            xytext=(-7 if left else 7, 5),
            textcoords="offset points",
            ha="right" if left else "left",
            color=INK,
        )
    axes.set_xlim(0, 1.08 * widest)
    axes.set_ylim(0, 1.04)
    for axis in ("x", "y"):
        number_axis(axes, axis, _RECALL)
    axes.set_xlabel("recall of pairs, %")
    axes.set_ylabel("precision of pairs, %")
    return figure


PAGES = Pages(
    measured="Metrics of unlabelled training rows after the last epoch",
    rows="unlabelled rows",
    validated="clusters of unlabelled rows against their truth, by which nothing is chosen",
    beside=("oracle_cluster_accuracy",),
    sections={"classes": (clusters,), "curves": (pairs,)},
)
