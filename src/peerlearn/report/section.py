"""What pages are made of: sections of figures, tables and pictures; and what a task adds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peerlearn.report.experiment import Experiment
from peerlearn.report.figures import Style, as_svg, drawing_style
from peerlearn.report.tables import Table
from peerlearn.report.words import sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from peerlearn.report.transfer_graph import EdgeKind


OPEN = ("transfer", "forest", "confusion")
"""Sections that answer what most readers ask."""


@dataclass(frozen=True)
class Chart:
    """One figure, drawn."""

    title: str
    svg: str  # empty where it is left out
    caption: str
    edges: "tuple[tuple[EdgeKind, str], ...]" = ()  # of a transfer graph, their reach in words
    style: Style | None = None  # of those edges


@dataclass(frozen=True)
class Picture:
    """An image in the page, what it shows in words, and a number below it."""

    uri: str
    words: str
    note: str = ""
    enlarged: bool = False  # without blur


@dataclass(frozen=True)
class PictureTable:
    """Pictures of one arm: a row for every image."""

    arm: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class Strip:
    """Pictures side by side that belong together."""

    name: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Strips:
    """Strips of one arm, and how many are not shown."""

    arm: str
    strips: tuple[Strip, ...]
    hidden: int


@dataclass(frozen=True)
class Section:
    """Figures, numbers and pictures that answer one question; leads say what to see in them."""

    name: str  # unique in the experiment; part of the id
    title: str
    lead: str = ""
    charts: tuple[Chart, ...] = ()
    legend: bool = True  # whether arms are told apart by colour in its figures
    table: Table | None = None
    table_lead: str = ""
    dense: bool = False  # whether its table has many narrow columns
    key: tuple[tuple[str, str], ...] = ()  # names in pictures and their colours or hatching
    pictures: tuple[PictureTable, ...] = ()  # of every arm; all but the first are folded away
    strips: tuple[Strips, ...] = ()  # likewise; all but the first are folded away
    more: tuple[Chart, ...] = ()  # figures that are folded away
    more_title: str = ""

    @property
    def filled(self) -> bool:
        """Whether there is something to see."""
        return bool(self.charts or self.more or self.table or self.pictures or self.strips)

    @property
    def open(self) -> bool:
        """Whether it is seen at once; the others are a line that can be unfolded."""
        return self.name in OPEN or bool(self.pictures or self.strips)


class Drawer:
    """Draws the figures of one experiment; `key` starts every id, so it is unique in the page.

    In a `brief` page `detail` says what a figure shows in place of drawing it. The first figure
    that is drawn sets the style, until `opened` is closed.
    """

    def __init__(
        self,
        experiment: Experiment,
        styles: Mapping[str, Style],
        key: str,
        opened: ExitStack,
        brief: bool = False,
    ) -> None:
        self.experiment = experiment
        self.left_out = 0  # figures
        self.styles = {arm: styles[arm] for arm in experiment.arms}
        self.key = key
        self._opened = opened
        self._brief = brief
        self._count = 0

    def chart(
        self, what: str, of: str, caption: str, draw: "Callable[[], Figure]", more: str = ""
    ) -> Chart:
        """What is drawn, of whom, and what to see in it; `more` is for those who do not see it."""
        if not self._count:
            self._opened.enter_context(drawing_style())
        self._count += 1
        label = " ".join(part for part in (what, f"{of}.", caption, more) if part)
        return Chart(sentence(of), as_svg(draw(), f"{self.key}-f{self._count}", label), caption)

    def detail(
        self, what: str, of: str, caption: str, draw: "Callable[[], Figure]", more: str = ""
    ) -> Chart:
        """The same, without the figure in a brief page."""
        if self._brief:
            self.left_out += 1
            return Chart(sentence(of), "", caption)
        return self.chart(what, of, caption, draw, more)


Maker = Callable[[Drawer], Section]
"""Makes a section of an experiment, an empty one where there is nothing to show."""


@dataclass(frozen=True)
class Pages:
    """What a task adds to the report of its runs, and what it says of its metrics."""

    measured: str = "Test metrics"  # what they are of, as the beginning of a sentence
    rows: str = "test rows"  # that peers agree on
    validated: str = "the validation metric"  # what the upper panel of learning curves shows
    ask: str = "predict {run} INPUT"  # the command that asks a network of a run
    unseen: str = ""  # a sentence on what validation cannot see, so that it chooses no arm
    beside: Sequence[str] = ()  # metrics that captions of curves tell beside the last epoch
    sections: Mapping[str, Sequence[Maker]] = field(default_factory=dict)
    """Its own, by the name of the common section that they follow."""
