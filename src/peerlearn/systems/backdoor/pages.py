"""What the report shows of a backdoor: triggered images, and ACC, ASR and RA of every arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from peerlearn.metrics.catalogue import Catalogue
from peerlearn.report.experiment import is_value, mean_and_std, measured
from peerlearn.report.figures import INK, new_figure, number_axis, shorten
from peerlearn.report.pictures import Bytes, photograph, read_arrays, unreadable, visible
from peerlearn.report.section import Drawer, Pages, Picture, PictureTable, Section
from peerlearn.report.words import amount, printable, who_label
from peerlearn.systems.backdoor.data import BackdoorDataset
from peerlearn.systems.backdoor.metrics import BACKDOOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""Images of a page."""
LARGEST = 96
"""Pixels of the page a picture is wide; smaller images are enlarged without blur."""
RATES = ("acc", "asr", "ra")
_COLOURS = {"acc": "#3b6ea5", "asr": "#b5482f", "ra": "#7aa37a"}
_METRICS = Catalogue(BACKDOOR)


def pictures(data: BackdoorDataset) -> dict[str, NDArray[np.generic]]:
    """`gallery.npz` of a run: a few test images without and with the trigger; see `Triggered`."""
    if data.triggered is None or data.sources is None or data.aims is None:
        return {}
    rows = _one_a_class(data.triggered.y.tolist())
    before, after = data.test.x[data.sources[rows]], data.triggered.x[rows]
    names = data.class_names
    return {
        "index": data.sources[rows].numpy(),
        "images": visible(before),
        "triggered": visible(after),
        "classes": np.array([names[int(y)] for y in data.triggered.y[rows]]),
        "aims": np.array([names[int(aim)] for aim in data.aims[rows]]),
    }


def _one_a_class(y: Sequence[int]) -> list[int]:
    """Positions of the first rows of classes, of as many classes as possible."""
    first = {label: place for place, label in reversed(list(enumerate(y)))}
    others = [place for place in range(len(y)) if place not in first.values()]
    return sorted([*first.values(), *others][:SHOWN])


@dataclass(frozen=True)
class Triggered:
    """`gallery.npz` of a run.

    Shapes:
        index, classes, aims (B,); images and triggered (B, H, W) or (B, H, W, 3).
    """

    index: tuple[int, ...]
    images: Bytes
    triggered: Bytes
    classes: tuple[str, ...]
    aims: tuple[str, ...]


def read_triggered(path: Path) -> Triggered:
    """The pictures of a run. Raises InputError: the file is damaged or holds something else."""
    arrays = read_arrays(path)
    try:
        found = Triggered(
            index=tuple(int(number) for number in arrays["index"]),
            images=arrays["images"],
            triggered=arrays["triggered"],
            classes=tuple(printable(str(name)) for name in arrays["classes"]),
            aims=tuple(printable(str(name)) for name in arrays["aims"]),
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise unreadable(path, str(error)) from error
    shape, count = found.images.shape, len(found.index)
    fits = (
        (len(shape) == 3 or (len(shape) == 4 and shape[-1] == 3))
        and found.triggered.shape == shape
        and found.images.dtype == found.triggered.dtype == np.dtype("uint8")
        and {len(found.classes), len(found.aims), shape[0]} == {count}
    )
    if not fits:
        raise unreadable(path, "its arrays do not fit each other")
    return found


def triggers(draw: Drawer) -> Section:
    """Test images, the same with the trigger, and what it adds."""
    galleries = list(draw.experiment.galleries.items())[:1]  # the same in every arm
    tables = tuple(_table(arm, read_triggered(path)) for arm, path in galleries)
    lead = (
        "Test images without and with the trigger, and the difference: grey where nothing changes, "
        "stretched to its largest value."
    )
    return Section("triggers", "The trigger", lead, pictures=tables)


def _table(arm: str, found: Triggered) -> PictureTable:
    rows = []
    for place, number in enumerate(found.index):
        name, enlarged = f"image {number}", max(found.images.shape[1:3]) < LARGEST
        before, after = found.images[place], found.triggered[place]
        change = after.astype(int) - before.astype(int)
        largest = int(np.abs(change).max())
        shown = (127.5 + 127.5 * change / max(largest, 1)).round().astype(np.uint8)
        aim = found.aims[place]
        pictures = (
            Picture(photograph(before), f"Test {name}", found.classes[place], enlarged),
            Picture(photograph(after), f"Test {name} with the trigger", f"to be {aim}", enlarged),
            Picture(photograph(shown), f"Change of {name}", f"at most {largest} of 255", enlarged),
        )
        rows.append((name, pictures))
    return PictureTable(arm, ("test image", "with the trigger", "difference"), tuple(rows))


def rates(draw: Drawer) -> Section:
    """ACC, ASR and RA of what every arm keeps, and of the victim."""
    arms = draw.experiment.arms
    found = {arm: _rates(measured(block, "mean_peer")) for arm, block in arms.items()}
    victims = [_rates(measured(block, "victim")) for block in arms.values()]
    rows = {"victim": next((each for each in victims if each), {}), **found}
    rows = {name: each for name, each in rows.items() if each}
    if len(rows) < 2:
        return Section("rates", "What is left of the backdoor")
    said = "; ".join(
        f"{who_label(arm) if arm == 'victim' else arm} "
        + ", ".join(f"{_METRICS[n].label} {amount(each[n][0], _METRICS[n])}" for n in each)
        for arm, each in rows.items()
    )
    of = "ACC, ASR and RA of every arm"
    chart = draw.chart("ACC, ASR and RA,", of, f"{said}.", partial(_draw, rows))
    lead = (
        "ACC: clean test rows that are right. With the trigger, and not of the class it aims at: "
        "ASR is the share that is taken for that class, RA the share that is right. A network "
        "without its backdoor has a low ASR and an RA near its ACC; a low ASR alone is no recovery."
    )
    return Section("rates", "What is left of the backdoor", lead, (chart,), legend=False)


def _rates(of: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    return {name: mean_and_std(value) for name in RATES if is_value(value := of.get(name))}


def _draw(rows: Mapping[str, Mapping[str, tuple[float, float]]]) -> "Figure":
    """Three bars a row, with a standard deviation over seeds."""
    figure = new_figure(0.7 + 0.42 * len(rows))
    axes = figure.add_subplot()
    for place, each in enumerate(rows.values()):
        for number, (name, (mean, std)) in enumerate(each.items()):
            y = place + 0.26 * (number - 1)
            label = _METRICS[name].label if place == 0 else None
            axes.barh(y, mean, height=0.22, color=_COLOURS[name], linewidth=0, label=label)
            if std:
                axes.plot([mean - std, mean + std], [y, y], color=INK, linewidth=1.0)
    axes.set_yticks(range(len(rows)), [shorten(name, 14) for name in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 1.0)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    number_axis(axes, "x", _METRICS["acc"])
    return figure


PAGES = Pages(
    unseen="Validation rows are clean and show no backdoor, so they choose no defence.",
    sections={"forest": (rates,), "classes": (triggers,)},
)
