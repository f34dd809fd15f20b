"""Results on speed as tables, for the terminal and for the pages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.speed.timing import FEWEST_ROUNDS

RATIOS = ["what", "ratio", "quartiles", "95 % interval", "CPU time", "target", ""]
WORKS = ["measured for", "work", "wall ms", "CPU ms", "page faults"]

Line = Mapping[str, Any]
Cells = list[list[str]]


class Shown(NamedTuple):
    """A table with what stands above it."""

    title: str
    header: list[str]
    rows: Cells


def show(tables: Sequence[Shown], *sentences: str) -> None:
    """Tables on the terminal, sentences below them."""
    console = Console()
    for title, header, rows in tables:
        table = Table(*header, title=title)
        for cells in rows:
            table.add_row(*cells)
        console.print(table)
    console.print(*sentences, sep="\n", highlight=False)


def markdown_table(header: list[str], rows: Cells) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines]


def ratio_rows(lines: Sequence[Line], digits: int = 3) -> Cells:
    """Under `RATIOS`: how much longer one takes than the other, and what that consists of."""
    rows = []
    for line in lines:
        if "skipped" in line:
            rows.append([line["name"], *["–"] * 5, f"skipped: {line['skipped']}"])
            continue
        cpu = line["cpu_ratio"]
        rows.append(
            [
                line["name"],
                *ratio_cells(line["ratio"], digits),
                f"{cpu['median']:.{digits}f}" if cpu else "",
                *target_cells(line),
            ]
        )
        for part, ratio in line.get("parts", {}).items():
            rows.append([f"  of which {part}", *ratio_cells(ratio, digits), "", "", ""])
    return rows


def work_rows(lines: Sequence[Line]) -> Cells:
    """Under `WORKS`: medians of everything that was timed."""
    return [
        [line["name"], work, f"{m['wall_ms']:.1f}", f"{m['cpu_ms']:.1f}", f"{m['page_faults']:.0f}"]
        for line in lines
        for work, m in line.get("works", {}).items()
    ]


def ratio_cells(ratio: Line, digits: int = 3) -> list[str]:
    """Median, quartiles and interval of a ratio."""
    return [
        f"{ratio['median']:.{digits}f}",
        f"{ratio['q25']:.{digits}f} – {ratio['q75']:.{digits}f}",
        interval_cell(ratio, digits),
    ]


def interval(ratio: Line, digits: int, between: str = " – ") -> str:
    """The two ends of a ratio's interval, or of its range."""
    return between.join(f"{end:.{digits}f}" for end in ratio["ci95"])


def interval_cell(ratio: Line, digits: int) -> str:
    """The 95 % interval of a ratio; where rounds are too few for one, their range, called so."""
    few = ratio["rounds"] < FEWEST_ROUNDS
    said = f"range of {ratio['rounds']} rounds: " if few else ""
    return said + interval(ratio, digits)


def target_cells(line: Line) -> list[str]:
    """The target, where there is one, and whether it is met."""
    return [line.get("target", ""), ("met" if line["met"] else "missed") if "met" in line else ""]
