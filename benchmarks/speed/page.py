"""What the scripts on speed have in common beside the clock: their options and their page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def options(about: str | None, sections: Sequence[str], results: Path) -> argparse.ArgumentParser:
    """The options of a script that measures `sections` into the file `results`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=1, help="threads, each pinned")
    parser.add_argument("--rounds", type=int, default=15, help="samples behind every figure")
    parser.add_argument("--out", type=Path, default=results)
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--reuse", action="store_true", help="take --out, measure nothing")
    parser.add_argument("--write-readme", action="store_true", help="fill in the page's results")
    return parser


def fill(page: Path, results: str) -> None:
    """Put Markdown between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{results}\n{END}{after}", encoding="utf-8")


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines]
