"""Results as tables, for the terminal and for the page."""

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed.page import Results, conditions, lines_of, markdown_table

RATIOS = ["what", "ratio", "quartiles", "95 % interval", "CPU time", "target", ""]
GROWTH = ["over", "of", "points, s", "line, s", "R²", "furthest point", "target", ""]
MEMORY = ["training", "edges", "peak memory", "an epoch", "target", ""]
WORKS = ["measured for", "work", "wall ms", "CPU ms", "page faults"]

Cells = list[list[str]]


def show(results: Results) -> None:
    """Everything on the terminal."""
    console = Console()
    for title, header, rows in _tables(results):
        table = Table(*header, title=title)
        for cells in rows:
            table.add_row(*cells)
        console.print(table)
    console.print(conditions(results), _forwards(results), sep="\n", highlight=False)


def markdown(results: Results, picture: str) -> str:
    """The results of the page; `picture` is the path of the plot."""
    parts = [conditions(results)]
    for title, header, rows in _tables(results):
        parts += ["", f"### {title}", "", *markdown_table(header, rows)]
        if header is RATIOS:
            parts += ["", _forwards(results)]
        if header is GROWTH:
            failed = results["growth"].get("no_plot")
            parts += ["", f"No plot: {failed}" if failed else f"![Cost of an epoch]({picture})"]
    return "\n".join(parts) + "\n"


def _tables(results: Results) -> list[tuple[str, list[str], Cells]]:
    found = [
        ("Time of the first over time of the second", RATIOS, _ratios(results)),
        ("Growth", GROWTH, _growth(results)),
        ("Memory", MEMORY, _memory(results)),
        ("Medians of one call", WORKS, _works(results)),
    ]
    return [table for table in found if table[2]]


def _ratios(results: Results) -> Cells:
    return [
        [line["name"], *["–"] * 5, f"skipped: {line['skipped']}"]
        if "skipped" in line
        else [
            line["name"],
            f"{line['ratio']['median']:.2f}",
            _span(line["ratio"]["q25"], line["ratio"]["q75"]),
            _span(*line["ratio"]["ci95"]),
            f"{line['cpu_ratio']['median']:.2f}",
            *_target(line),
        ]
        for line in lines_of(results)
    ]


def _growth(results: Results) -> Cells:
    return [
        [
            curve["over"],
            curve["what"],
            ", ".join(f"{p['size']:,}: {p['cpu_s']:.2f}" for p in curve["points"]),
            _equation(curve),
            f"{curve['line']['r2']:.4f}",
            f"{curve['line']['worst']:.1%}",
            *_target(curve),
        ]
        for curve in results.get("growth", {}).get("curves", [])
    ]


def _memory(results: Results) -> Cells:
    return [
        [
            line["name"],
            f"{line['edges']:,}",
            f"{line['peak_gb']:.2f} GB",
            f"{line['epoch_s']:.1f} s",
            *_target(line),
        ]
        for line in results.get("memory", {}).get("trainings", [])
    ]


def _works(results: Results) -> Cells:
    return [
        [line["name"], work, f"{m['wall_ms']:.1f}", f"{m['cpu_ms']:.1f}", f"{m['page_faults']:.0f}"]
        for line in lines_of(results)
        for work, m in line.get("works", {}).items()
    ]


def _forwards(results: Results) -> str:
    counted = results.get("parts", {}).get("forwards_per_step", {})
    return "Training forwards in one mutual step: " + (
        "; ".join(
            f"{name}: " + ", ".join(f"{calls} of {peer}" for peer, calls in peers.items())
            for name, peers in counted.items()
        )
        or "not counted"
    )


def _equation(curve: dict[str, Any]) -> str:
    line = curve["line"]
    unit, name = (1e6, "million edges") if curve["over"] == "edges" else (1, "peer")
    sign = "+" if line["slope_s"] >= 0 else "−"
    return f"{line['intercept_s']:.3f} {sign} {abs(line['slope_s']) * unit:.3f} per {name}"


def _target(line: dict[str, Any]) -> list[str]:
    return [line.get("target", ""), ("met" if line["met"] else "missed") if "met" in line else ""]


def _span(low: float, high: float) -> str:
    return f"{low:.2f} – {high:.2f}"
