"""How fast graph cohorts train, and how their cost grows. See SPEED.md beside this file."""

import argparse
import importlib.metadata
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.graph.against import gcn_lines, mixed_lines
from benchmarks.graph.cohorts import forwards_per_step
from benchmarks.graph.graphs import cora
from benchmarks.graph.growth import FULL, SMALLEST, growth
from benchmarks.graph.memory import memory_lines
from benchmarks.graph.parts import part_lines
from benchmarks.graph.peers import gcns, mixed
from benchmarks.graph.plot import draw
from benchmarks.graph.tables import markdown, show
from benchmarks.speed.page import options, publish
from benchmarks.speed.timing import environment, pin
from peerlearn.engine.memory import keep_freed_memory

PAGE = Path(__file__).with_name("SPEED.md")
PICTURE = PAGE.with_name("growth.svg")
SECTIONS = ("gcn", "mixed", "parts", "growth", "memory")


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    arguments = options(__doc__, SECTIONS, PAGE.with_name("speed.json")).parse_args()
    publish(
        arguments,
        PAGE,
        measure,
        page_of,
        show,
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, as speed.json has it."""
    began = time.perf_counter()
    threads, rounds, only = arguments.threads, arguments.rounds, arguments.only
    pin(threads)
    data, source = cora(arguments.smallest)
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
        results["growth"] = growth(rounds, SMALLEST if arguments.smallest else FULL)
    if "memory" in only:
        results["memory"] = memory_lines(threads, arguments.smallest)
    return results | {"lines": lines, "seconds": time.perf_counter() - began}


def page_of(results: dict[str, Any]) -> str:
    """What the page says of the results; draws its picture."""
    if "growth" in results:
        results["growth"]["no_plot"] = draw(results["growth"], PICTURE)
    return markdown(results, PICTURE.name)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
