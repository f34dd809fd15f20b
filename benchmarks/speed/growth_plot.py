"""The picture of growth: processor time and memory over size, both axes by factors of ten."""

from pathlib import Path
from typing import Any

from benchmarks.speed.page import Results, lines_of

TIME, MEMORY = "#1f6f8b", "#d1603d"
STYLE: Any = {
    "svg.hashsalt": "growth",  # with no date in it, equal results give an equal file
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(results: Results, file: Path) -> str | None:
    """Write the SVG; returns the reason where that is not possible."""
    try:
        import matplotlib
    except ImportError as error:
        return f"{error}; pip install matplotlib"
    from matplotlib.figure import Figure

    lines = lines_of(results)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        panels = figure.subplots(2, 3).flatten()
        for panel, line in zip(panels, lines, strict=False):
            _add(panel, line)
        for panel in panels[len(lines) :]:
            panel.set_visible(False)
        figure.savefig(file, metadata={"Date": None})
    return None


def _add(panel: Any, line: dict[str, Any]) -> None:
    """Medians of processor time with their quartiles, and bytes kept, on an axis of their own."""
    points = line["points"]
    sizes, medians = [p["size"] for p in points], [1e3 * p["cpu_s"] for p in points]
    below = [m - 1e3 * p["cpu_q25"] for p, m in zip(points, medians, strict=True)]
    above = [1e3 * p["cpu_q75"] - m for p, m in zip(points, medians, strict=True)]
    label = f"time, slope {line['time_exponent']:.2f}"
    panel.errorbar(sizes, medians, [below, above], fmt="o-", ms=3, color=TIME, label=label)
    panel.set(xscale="log", yscale="log", title=line["what"], xlabel=line["over"])
    panel.set_ylabel("CPU ms", color=TIME)
    handles = panel.get_legend_handles_labels()
    if line["memory_exponent"] is not None:
        beside = panel.twinx()
        label = f"memory, slope {line['memory_exponent']:.2f}"
        kept = [p["kept"] / 1e6 for p in points]
        beside.plot(sizes, kept, "s--", ms=3, color=MEMORY, label=label)
        beside.set_yscale("log")
        beside.set_ylabel("MB kept", color=MEMORY)
        more = beside.get_legend_handles_labels()
        handles = tuple(one + other for one, other in zip(handles, more, strict=True))
    panel.legend(*handles, frameon=False, loc="upper left")
