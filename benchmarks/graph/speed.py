"""How fast graph cohorts train, and how their cost grows. See SPEED.md beside this file."""

import argparse
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any

from against import gcn_lines, mixed_lines
from cohorts import forwards_per_step
from graphs import cora
from growth import growth
from measuring import environment, pin
from memory import memory_lines
from parts import part_lines
from peers import gcns, mixed
from plot import draw
from tables import markdown, show

from peerlearn.engine.memory import keep_freed_memory

PAGE = Path(__file__).with_name("SPEED.md")
PICTURE = PAGE.with_name("growth.svg")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
SECTIONS = ("gcn", "mixed", "parts", "growth", "memory")


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    arguments = _arguments()
    out = Path(arguments.out)
    if arguments.reuse:
        results = json.loads(out.read_text(encoding="utf-8"))
    else:
        results = measure(arguments.threads, arguments.rounds, arguments.only)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        out.write_text(text + "\n", encoding="utf-8")
    show(results)
    if arguments.write_readme:
        _write_page(results)


def measure(threads: int, rounds: int, only: list[str]) -> dict[str, Any]:
    """Everything, as speed.json has it."""
    began = time.perf_counter()
    pin(threads)
    data, source = cora()
    results: dict[str, Any] = {
        "environment": environment(threads) | {"torch_geometric": _version("torch-geometric")},
        "rounds": rounds,
        "data": source,
    }
    keep_freed_memory()  # as Trainer.run does; every arm has it, torch-geometric's too
    lines: list[dict[str, Any]] = []
    if "gcn" in only:
        lines += gcn_lines(data, rounds)
    if "mixed" in only:
        lines += mixed_lines(data, rounds)
    if "parts" in only:
        results["forwards_per_step"] = {
            "four GCNs": forwards_per_step(gcns(4), data),
            "GCN + GAT + SAGE": forwards_per_step(mixed(), data),
        }
        lines += part_lines(data, rounds)
    if "growth" in only:
        results["growth"] = growth(rounds)
    if "memory" in only:
        results["memory"] = memory_lines(threads)
    return results | {"lines": lines, "seconds": time.perf_counter() - began}


def _write_page(results: dict[str, Any]) -> None:
    if "growth" in results:
        results["growth"]["no_plot"] = draw(results["growth"], PICTURE)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    filled = markdown(results, PICTURE.name)
    PAGE.write_text(f"{before}{BEGIN}\n\n{filled}\n{END}{after}", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads, each pinned")
    parser.add_argument("--rounds", type=int, default=15, help="samples behind every median")
    parser.add_argument("--out", default=str(PAGE.with_name("speed.json")))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--reuse", action="store_true", help="take --out, measure nothing")
    parser.add_argument("--write-readme", action="store_true", help="fill in SPEED.md, draw")
    return parser.parse_args()


if __name__ == "__main__":
    main()
