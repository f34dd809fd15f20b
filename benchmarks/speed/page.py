"""What the scripts on speed have in common beside the clock: their options and their page."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def options(about: str | None, sections: Sequence[str], results: Path) -> argparse.ArgumentParser:
    """The options of a script that measures `sections` into the file `results`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=1, help="threads, each pinned")
    parser.add_argument(
        "--rounds",
        type=int,
        default=16,
        help="samples behind every figure; where even, either order of the works counts as often",
    )
    parser.add_argument(
        "--smallest", action="store_true", help="once, at sizes that show only that it runs"
    )
    parser.add_argument("--out", type=Path, default=results)
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--reuse", action="store_true", help="take --out, measure nothing")
    parser.add_argument("--write-readme", action="store_true", help="fill in the page's results")
    return parser


def publish(
    arguments: argparse.Namespace,
    page: Path,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    markdown: Callable[[dict[str, Any]], str],
    show: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Measure, or take what was measured; show it, and fill in the page where asked."""
    if arguments.smallest:
        if arguments.out.parent == page.parent:
            raise SystemExit("--smallest makes no results for the page; give another --out")
        arguments.rounds = 1
    if arguments.reuse:
        results = json.loads(arguments.out.read_text(encoding="utf-8"))
    else:
        results = measure(arguments)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    if show is None:
        print(markdown(results))
    else:
        show(results)
    if arguments.write_readme:
        fill(page, markdown(results))


def conditions(results: dict[str, Any], *details: str) -> str:
    """Where and when `results` were measured, in one sentence; `details` after torch's version."""
    where = results["environment"]
    parts = [
        where["processor"],
        f"{where['threads']} of {where['processors']} processors",
        *([f"commit {where['commit']}"] if where.get("commit") else []),
        f"torch {where['torch']}",
        *details,
        f"{results['rounds']} rounds",
        where["date"],
        f"load {where['load_average'][0]:.1f} at the start",
    ]
    if "seconds" in results:
        parts.append(f"{results['seconds']:.0f} s")
    return ", ".join(parts) + "."


def ratio_cells(ratio: dict[str, Any]) -> list[str]:
    """Median, quartiles and interval of a ratio."""
    return [
        f"{ratio['median']:.3f}",
        f"{ratio['q25']:.3f} – {ratio['q75']:.3f}",
        f"{ratio['ci95'][0]:.3f} – {ratio['ci95'][1]:.3f}",
    ]


def fill(page: Path, results: str) -> None:
    """Put Markdown between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{results}\n{END}{after}", encoding="utf-8")


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines]
