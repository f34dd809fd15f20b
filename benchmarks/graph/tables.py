"""Results as tables, for the terminal and for the page."""

from typing import Any

from benchmarks.speed import tables
from benchmarks.speed.page import Results, conditions, lines_of
from benchmarks.speed.tables import (
    RATIOS,
    WORKS,
    Cells,
    Shown,
    markdown_table,
    ratio_rows,
    target_cells,
    work_rows,
)

GROWTH = ["over", "of", "points, s", "line, s", "R²", "furthest point", "target", ""]
MEMORY = ["training", "edges", "peak memory", "an epoch", "target", ""]


def show(results: Results) -> None:
    """Everything on the terminal."""
    tables.show(_tables(results), conditions(results), _forwards(results))


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


def _tables(results: Results) -> list[Shown]:
    lines = lines_of(results)
    found = [
        Shown("Time of the first over time of the second", RATIOS, ratio_rows(lines, digits=2)),
        Shown("Growth", GROWTH, _growth(results)),
        Shown("Memory", MEMORY, _memory(results)),
        Shown("Medians of one call", WORKS, work_rows(lines)),
    ]
    return [table for table in found if table.rows]


def _growth(results: Results) -> Cells:
    return [
        [
            curve["over"],
            curve["what"],
            ", ".join(f"{p['size']:,}: {p['cpu_s']:.2f}" for p in curve["points"]),
            _equation(curve),
            f"{curve['line']['r2']:.4f}",
            f"{curve['line']['worst']:.1%}",
            *target_cells(curve),
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
            *target_cells(line),
        ]
        for line in results.get("memory", {}).get("trainings", [])
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
