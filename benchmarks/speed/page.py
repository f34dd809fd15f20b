"""What the scripts on speed have in common beside the clock: their options and their page."""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.timing import environment, pin

Section = Callable[[argparse.Namespace], dict[str, Any]]
"""Measures a part of a page: `lines`, and what else the page shows of it."""

Results = dict[str, dict[str, Any]]
"""What the sections have measured, each with its conditions."""

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def options(
    about: str | None, sections: Mapping[str, Section], results: Path
) -> argparse.ArgumentParser:
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
    parser.add_argument("--out", type=Path, default=results, help="other sections in it stay")
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--reuse", action="store_true", help="take --out, measure nothing")
    parser.add_argument("--write-readme", action="store_true", help="fill in the page's results")
    return parser


def publish(
    arguments: argparse.Namespace,
    page: Path,
    sections: Mapping[str, Section],
    markdown: Callable[[Results], str],
    show: Callable[[Results], None] | None = None,
) -> None:
    """Measure, or take what was measured; show it, and fill in the page where asked."""
    if arguments.smallest:
        if arguments.out.parent == page.parent:
            raise SystemExit("--smallest makes no results for the page; give another --out")
        arguments.rounds = 1
    if not arguments.reuse:
        measure(arguments, sections)
    results = json.loads(arguments.out.read_text(encoding="utf-8"))
    if show is None:
        print(markdown(results))
    else:
        show(results)
    if arguments.write_readme:
        fill(page, markdown(results))


def measure(arguments: argparse.Namespace, sections: Mapping[str, Section]) -> None:
    """Put the sections that are asked for, in their order, among those of the result file.

    A section says under which conditions it was measured, and is written at once. One of which
    nothing could be measured here stays as it was.
    """
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    arguments.processors = pin(arguments.threads)
    for name in [name for name in sections if name in arguments.only]:
        began = time.perf_counter()
        about = {"environment": environment(arguments.threads), "rounds": arguments.rounds}
        found = sections[name](arguments)
        lines = found.get("lines", [])
        if name in known and lines and all("skipped" in line for line in lines):
            continue
        known[name] = about | found | {"seconds": time.perf_counter() - began}
        ordered = {name: known[name] for name in sections if name in known}
        text = json.dumps(ordered, indent=1, ensure_ascii=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")


def lines_of(results: Results) -> list[dict[str, Any]]:
    """The rows of all sections."""
    return [line for section in results.values() for line in section.get("lines", ())]


def conditions(results: Results) -> str:
    """Where and when the sections were measured: a line for those with the same conditions."""
    said: dict[str, list[str]] = {}
    for name, section in results.items():
        said.setdefault(_conditions(section), []).append(f"`{name}`")
    return "\n".join(f"- {', '.join(names)}: {sentence}" for sentence, names in said.items())


def _conditions(section: Mapping[str, Any]) -> str:
    where = section["environment"]
    parts = [
        where["processor"],
        f"{where['threads']} of {where['processors']} processors",
        f"bf16 {'native' if where['bf16_native'] else 'not native'}",
        *([f"commit {where['commit']}"] if where.get("commit") else []),
        f"torch {where['torch']}",
        *section.get("details", ()),
        f"{section['rounds']} rounds",
        where["date"],
        f"load {where['load_average'][0]:.1f} at the start",
    ]
    if "seconds" in section:
        parts.append(f"{section['seconds']:.0f} s")
    return ", ".join(parts) + "."


def fill(page: Path, results: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put Markdown between the marks of a page."""
    begin, end = marks
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{results}\n{end}{after}", encoding="utf-8")
