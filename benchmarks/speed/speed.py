"""How fast peerlearn is: one script, one run, ratios only. See README.md beside this file."""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.speed import tables
from benchmarks.speed.digits import small_steps
from benchmarks.speed.exchange import exchange
from benchmarks.speed.formats import precision_gain
from benchmarks.speed.images import data_path
from benchmarks.speed.mutual import forwards_per_step, mutual_overhead, with_memory_given_back
from benchmarks.speed.package import against_package
from benchmarks.speed.page import Results, conditions, lines_of, options, publish
from benchmarks.speed.tables import RATIOS, WORKS, Shown, markdown_table, ratio_rows, work_rows
from benchmarks.speed.work import FULL, SMALLEST, Size
from peerlearn.engine.precision import keep_freed_memory

README = Path(__file__).with_name("README.md")


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Before freed memory is kept, so first of all."""
    return {"lines": with_memory_given_back(arguments.rounds, size_of(arguments))}


def mutual(arguments: argparse.Namespace) -> dict[str, Any]:
    """The mutual step against independent ones."""
    keep_freed_memory()  # as Trainer.run does; from here on every arm has it, the package's too
    size = size_of(arguments)
    lines = mutual_overhead(arguments.rounds, size)
    return {"lines": lines, "forwards_per_step": forwards_per_step(size)}


def digits(arguments: argparse.Namespace) -> dict[str, Any]:
    """Small steps against a hand-written loop."""
    keep_freed_memory()
    return {"lines": small_steps(arguments.rounds, size_of(arguments).epochs)}


def edges(arguments: argparse.Namespace) -> dict[str, Any]:
    """Losses of many peers over many classes."""
    keep_freed_memory()
    size = size_of(arguments)
    return {"lines": exchange(arguments.rounds, size.rows, size.classes)}


def precision(arguments: argparse.Namespace) -> dict[str, Any]:
    """bf16 and memory layout."""
    keep_freed_memory()
    return {"lines": precision_gain(arguments.rounds, size_of(arguments))}


def package(arguments: argparse.Namespace) -> dict[str, Any]:
    """Against pytorch-dml."""
    keep_freed_memory()
    batch, folder = size_of(arguments).batch, arguments.pytorch_dml
    lines, spent = against_package(arguments.rounds, arguments.threads, batch, folder)
    return {"lines": lines, "where_time_goes_ms": spent}


def data(arguments: argparse.Namespace) -> dict[str, Any]:
    """Batches without training."""
    keep_freed_memory()
    batch = size_of(arguments).batch
    return {"lines": data_path(arguments.rounds, arguments.processors, batch)}


def size_of(arguments: argparse.Namespace) -> Size:
    """How much is measured."""
    return SMALLEST if arguments.smallest else FULL


SECTIONS = {
    "memory": memory,
    "mutual": mutual,
    "digits": digits,
    "edges": edges,
    "precision": precision,
    "package": package,
    "data": data,
}


def main() -> None:
    """Measure, or take what was measured; print, and fill in the README where asked."""
    parser = options(__doc__, SECTIONS, README.with_name("results.json"))
    parser.add_argument("--pytorch-dml", type=Path, help="folder that holds the package")
    publish(parser.parse_args(), README, SECTIONS, markdown, show)


def show(results: Results) -> None:
    """The ratios on the terminal."""
    title = "time of the first over time of the second"
    ratios = Shown(title, RATIOS, ratio_rows(lines_of(results)))
    tables.show([ratios], conditions(results), _forwards(results))


def markdown(results: Results) -> str:
    """The tables of the README."""
    lines = lines_of(results)
    parts = [conditions(results), "", *markdown_table(RATIOS, ratio_rows(lines))]
    parts += ["", _forwards(results), *_memory(results), "", "Medians of one call:", ""]
    parts += markdown_table(WORKS, work_rows(lines))
    if spent := results.get("package", {}).get("where_time_goes_ms"):
        kinds = list(next(iter(spent.values())))
        parts += [
            "",
            "Time of one epoch by kind of operator, ms (`torch.profiler`, not interleaved):",
            "",
        ]
        parts += markdown_table(
            ["arm", *kinds], [[arm, *(f"{ms[k]:.0f}" for k in kinds)] for arm, ms in spent.items()]
        )
    return "\n".join(parts) + "\n"


def _memory(results: Results) -> list[str]:
    """A sentence for every size that memory was measured of."""
    sentences = []
    for line in results.get("edges", {}).get("lines", []):
        works = line.get("works", {})
        said = [f"{work} {m['peak_mb']:,.0f} MB" for work, m in works.items() if "peak_mb" in m]
        if said:
            what = line["name"].partition(":")[0]
            sentences += ["", f"Peak memory beyond the logits, {what}: {', '.join(said)}"]
    return sentences


def _forwards(results: Results) -> str:
    counted = results.get("mutual", {}).get("forwards_per_step", {})
    return "Training forwards in one mutual step: " + (
        ", ".join(f"{n} for K = {k}" for k, n in counted.items()) or "not counted"
    )


if __name__ == "__main__":
    main()
