"""The picture of growth: processor time of an epoch over edges, and over peers."""

from pathlib import Path
from typing import Any

COLOURS = ("#1f6f8b", "#d1603d", "#7a7a7a")
STYLE: Any = {
    "svg.hashsalt": "growth",  # with no date in it, equal results give an equal file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(growth: dict[str, Any], file: Path) -> str | None:
    """Write the SVG; returns the reason where that is not possible."""
    try:
        import matplotlib
    except ImportError as error:
        return f"{error}; pip install matplotlib"
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = dict(zip(("edges", "peers"), figure.subplots(1, 2), strict=True))
        for colour, curve in zip(COLOURS, growth["curves"], strict=True):
            _add(axes[curve["over"]], curve, colour)
        for over, panel in axes.items():
            label = "million edges" if over == "edges" else over
            panel.set(xlabel=label, ylabel="processor time of an epoch, s", xlim=(0, None))
            panel.set_ylim(0, None)
            panel.legend(frameon=False, loc="lower right" if over == "edges" else "upper left")
        axes["edges"].xaxis.set_major_formatter(lambda edges, _: f"{edges / 1e6:g}")
        figure.savefig(file, metadata={"Date": None})
    return None


def _add(panel: Any, curve: dict[str, Any], colour: str) -> None:
    """Medians with their quartiles, and the line through them down to zero."""
    points, line = curve["points"], curve["line"]
    sizes, medians = [p["size"] for p in points], [p["cpu_s"] for p in points]
    below = [p["cpu_s"] - p["cpu_q25"] for p in points]
    above = [p["cpu_q75"] - p["cpu_s"] for p in points]
    ends = [0, max(sizes)]
    panel.plot(ends, [line["intercept_s"] + line["slope_s"] * end for end in ends], color=colour)
    panel.errorbar(
        sizes, medians, [below, above], fmt="o", markersize=4, color=colour, label=curve["what"]
    )
