"""How fast graph cohorts train, and how their cost grows. See SPEED.md beside this file."""

import argparse
import importlib.metadata
import sys
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
from benchmarks.speed.page import Results, options, publish
from peerlearn.engine.precision import keep_freed_memory
from peerlearn.tasks.graphs.data.datasets import NodeDataset

PAGE = Path(__file__).with_name("SPEED.md")
PICTURE = PAGE.with_name("growth.svg")


def four_gcns(arguments: argparse.Namespace) -> dict[str, Any]:
    """Four GCNs against torch-geometric."""
    keep_freed_memory()  # as Trainer.run does; every arm has it, torch-geometric's too
    data, details = _cora(arguments)
    return {"lines": gcn_lines(data, arguments.rounds), "details": details}


def three_models(arguments: argparse.Namespace) -> dict[str, Any]:
    """A GCN, a GAT and a GraphSAGE against torch-geometric."""
    keep_freed_memory()
    data, details = _cora(arguments)
    return {"lines": mixed_lines(data, arguments.rounds), "details": details}


def parts(arguments: argparse.Namespace) -> dict[str, Any]:
    """What parts of an epoch cost."""
    keep_freed_memory()
    data, details = _cora(arguments)
    counted = {
        "four GCNs": forwards_per_step(gcns(4), data),
        "GCN + GAT + SAGE": forwards_per_step(mixed(), data),
    }
    lines = part_lines(data, arguments.rounds)
    return {"lines": lines, "forwards_per_step": counted, "details": details}


def growing(arguments: argparse.Namespace) -> dict[str, Any]:
    """Epochs on random graphs of several sizes."""
    keep_freed_memory()
    return growth(arguments.rounds, SMALLEST if arguments.smallest else FULL)


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trainings in processes of their own."""
    return {"trainings": memory_lines(arguments.threads, arguments.smallest)}


SECTIONS = {
    "gcn": four_gcns,
    "mixed": three_models,
    "parts": parts,
    "growth": growing,
    "memory": memory,
}


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    arguments = options(__doc__, SECTIONS, PAGE.with_name("speed.json")).parse_args()
    publish(arguments, PAGE, SECTIONS, page_of, show)


def page_of(results: Results) -> str:
    """What the page says of the results; draws its picture."""
    if "growth" in results:
        results["growth"]["no_plot"] = draw(results["growth"], PICTURE)
    return markdown(results, PICTURE.name)


def _cora(arguments: argparse.Namespace) -> tuple[NodeDataset, list[str]]:
    """The graph, and what is to be said of these measurements."""
    data, source = cora(arguments.smallest)
    try:
        known = f"torch-geometric {importlib.metadata.version('torch-geometric')}"
    except importlib.metadata.PackageNotFoundError:
        known = "no torch-geometric"
    return data, [known, source]


if __name__ == "__main__":
    main()
