"""One look for every figure of the report, and the way from a figure to inline SVG.

Figures are drawn once and shown in light and dark pages, so no colour is final: the hexadecimal
colours below are what matplotlib draws with, and `as_svg` replaces each by the CSS variable that
report.css sets for the light and the dark page. Text stays text (`svg.fonttype: none`): it takes
the font of the page, can be selected, and keeps its size on a phone.
"""

import io
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import Metric
from peerlearn.report.statistics import REFERENCE
from peerlearn.results import sample_std

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SVG_DPI = 72  # in which matplotlib writes SVG; text is laid out in the same
WIDTH = 3.6  # inches: about the width of a phone, so that 9 pt text needs no shrinking there

INK = "#1d1c1a"
MUTED = "#6b665c"
GRID = "#e2ddd2"
PAPER = "#fdfcf9"

# Okabe and Ito's palette for colour-blind readers, without its yellow (too pale on paper).
# The first is grey and kept for the baseline; every other arm takes the next one.
ARM_COLOURS = (
    *("#7a7466", "#0072b2", "#d55e00", "#009e73"),
    *("#cc79a7", "#e69f00", "#56b4e9", "#8a4fbf"),
)
# Line styles and markers go with the colours, so that no figure speaks by colour alone.
ARM_DASHES: tuple[Any, ...] = (
    *((0, (4, 2)), "solid", (0, (6, 1.5, 1.5, 1.5)), (0, (1.5, 1.5))),
    *((0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2.5)), (0, (10, 2, 2, 2))),
)
ARM_MARKERS = ("s", "o", "D", "^", "v", "P", "X", "p")

_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"} | {
    colour: f"--arm-{index}" for index, colour in enumerate(ARM_COLOURS)
}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "peerlearn",
    "text.parse_math": False,  # a peer may be called "$a$"
    **dict.fromkeys(["axes.formatter.use_mathtext", "axes.formatter.useoffset"], False),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so the layout is the same anywhere
    **dict.fromkeys(["font.size", "axes.titlesize", "axes.labelsize"], 9.0),
    **dict.fromkeys(["xtick.labelsize", "ytick.labelsize", "legend.fontsize"], 8.5),
    **dict.fromkeys(["text.color", "legend.labelcolor"], INK),
    **dict.fromkeys(["axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], MUTED),
    **dict.fromkeys(["axes.facecolor", "figure.facecolor"], "none"),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    **dict.fromkeys(["axes.linewidth", "xtick.major.width", "ytick.major.width"], 0.7),
    **dict.fromkeys(["xtick.major.size", "ytick.major.size"], 2.5),
    **dict.fromkeys(["axes.grid", "axes.axisbelow", "path.simplify"], True),
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "legend.handlelength": 2.2,
}


class Style(NamedTuple):
    """How an arm is drawn, alike through the whole page."""

    number: int
    colour: str
    marker: str
    line: Any
    dashes: str  # the line as SVG's `stroke-dasharray`


def arm_styles(arms: Iterable[str], references: Collection[str] = ()) -> dict[str, Style]:
    """A style for every arm of a page; grey for those that others are compared with.

    Where nothing is compared that is `independent`.
    """
    arms = dict.fromkeys(arms)
    turns = cycle(range(1, len(ARM_COLOURS)))
    grey = set(references) or {REFERENCE}
    places = {arm: 0 if arm in grey else next(turns) for arm in arms}
    return {
        arm: Style(n, ARM_COLOURS[n], ARM_MARKERS[n], ARM_DASHES[n], svg_dashes(ARM_DASHES[n], 1.6))
        for arm, n in places.items()
    }


def svg_dashes(line: Any, width: float) -> str:
    """A line style of matplotlib as SVG's `stroke-dasharray`."""
    return "none" if isinstance(line, str) else " ".join(f"{width * d:.3g}" for d in line[1])


def require_report_extra() -> None:
    """Raises InputError: matplotlib or jinja2 is missing; names the pip command."""
    for library in ("jinja2", "matplotlib"):
        if find_spec(library) is None:  # importing matplotlib takes longer than some reports
            raise InputError(
                f"the report needs {library}, which is not installed: "
                'pip install "peerlearn[report]"'
            )


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw with matplotlib's defaults plus the look above, whatever the user's own settings say."""
    import matplotlib

    defaults: Any = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if not key.startswith(("backend", "interactive", "toolbar", "webagg"))
    }
    with matplotlib.rc_context(defaults | _STYLE):
        yield


def new_figure(height: float) -> "Figure":
    """An empty figure of the common width, `height` inches high, with constrained layout."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, hspace=0.06)
    return Figure(figsize=(WIDTH, height), layout=layout, dpi=SVG_DPI)


def number_axis(
    axes: "Axes", which: str, metric: Metric | None = None, signed: bool = False, ticks: int = 5
) -> None:
    """Label the axis `which` ("x" or "y") plainly, fractions in percent without the sign."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    scale = 100 if metric is not None and metric.is_fraction else 1
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(scale * value, signed)))


def tick_text(value: float, signed: bool = False) -> str:
    """A tick label: no trailing zeros, a true minus sign, and a plus sign where `signed`."""
    text = f"{value:.4g}" if abs(value) >= 1e-9 else "0"
    if signed and text != "0" and not text.startswith("-"):
        text = "+" + text
    return text.replace("-", "−")


def shorten(text: str, length: int) -> str:
    """`text` cut to `length` characters, the last one an ellipsis where something was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def boxed_text(axes: "Axes", x: float, y: float, text: str, box: str, **more: Any) -> "Text":
    """Text on the colour of the page, so that lines do not run through it."""
    outline = {"boxstyle": box, "facecolor": PAPER, "edgecolor": "none"} | more.pop("outline", {})
    return axes.text(x, y, text, va="center", bbox=outline, **more)


def as_svg(figure: "Figure", key: str, label: str) -> str:
    """The figure as an `<svg>` element to stand inside a page.

    It is drawn within `drawing_style()`, with the colours of this module. `key` is unique in the
    page and starts every id, so that no two figures answer to the same one; `label` says what is
    shown, for readers who do not see it.
    """
    if (layout := figure.get_layout_engine()) is not None:
        # Here, and no more when it is saved: a figure that has an engine is drawn twice then.
        layout.execute(figure)
        figure.set_layout_engine(None)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            name.rpartition("}")[2]: value for name, value in sorted(element.attrib.items())
        }
    for parent in list(root.iter()):  # a style for `*` would reach the whole page
        for child in [child for child in parent if child.tag in ("metadata", "style")]:
            parent.remove(child)
    used = _referenced_ids(root)
    for element in root.iter():
        _rewrite(element, key, used)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label, "class": "chart"}
    title = ElementTree.Element("title")
    title.text = label
    root.insert(0, title)
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return re.sub(r">\s+<", "><", text)


def _referenced_ids(root: ElementTree.Element) -> set[str]:
    items = [item for element in root.iter() for item in element.attrib.items()]
    urls = (re.fullmatch(r"url\(#(.+)\)", value) for _, value in items)
    linked = {value.removeprefix("#") for name, value in items if name == "href"}
    return linked | {url[1] for url in urls if url}


def _rewrite(element: ElementTree.Element, key: str, used: set[str]) -> None:
    """Prefix ids, drop those nobody refers to, and turn colours into CSS variables."""
    attributes = element.attrib
    if attributes.get("id") in used:
        attributes["id"] = f"{key}-{attributes['id']}"
    else:
        attributes.pop("id", None)
    if "href" in attributes:
        attributes["href"] = f"#{key}-{attributes['href'].removeprefix('#')}"
    if "d" in attributes:
        attributes["d"] = _short_path(attributes["d"])
    for name, value in attributes.items():
        if match := re.fullmatch(r"url\(#(.+)\)", value):
            attributes[name] = f"url(#{key}-{match[1]})"
    if "style" in attributes:
        attributes["style"] = _page_style(attributes["style"])


def _short_path(path: str) -> str:
    """A path in hundredths of a point: nobody sees more, and the page is half as long."""
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", path)
    return " ".join(rounded.split())


def _page_style(style: str) -> str:
    rules = []
    for rule in style.split(";"):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name == "font-family" or not name:
            continue  # the page's own font
        if name == "font":  # matplotlib < 3.10 writes the shorthand
            weight = "font-weight:bold;" if re.match(r"(bold|[6-9]00)\b", value) else ""
            size = re.search(r"[\d.]+px", value)
            rules.append(f"{weight}font-size:{size[0] if size else '9px'}")
            continue
        variable = _VARIABLES.get(value)
        rules.append(f"{name}:{f'var({variable})' if variable else value}")
    return ";".join(rules)


def over_seeds(series: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Point-wise mean and standard deviation over seeds of curves that may differ in length.

    Missing points are NaN. The standard deviation (n − 1) is 0 where there is one curve only.
    """
    means, stds = [], []
    for step in range(max(map(len, series), default=0)):
        here = [v for values in series if step < len(values) and (v := values[step]) == v]
        means.append(fmean(here) if here else math.nan)
        stds.append(sample_std(here))
    return means, stds


def draw_band(
    axes: "Axes",
    x: Sequence[float],
    mean: Sequence[float],
    std: Sequence[float] | None,
    colour: str,
    **line: Any,
) -> None:
    """A line with a band of one standard deviation, where there is one."""
    if std is not None:
        low = [m - s for m, s in zip(mean, std, strict=True)]
        high = [m + s for m, s in zip(mean, std, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, mean, color=colour, **line)
