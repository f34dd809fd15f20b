"""How fast peerlearn is: one script, one run, ratios only. See README.md beside this file."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from rich.console import Console
from rich.table import Table

from benchmarks.speed.formats import precision_gain
from benchmarks.speed.images import data_path
from benchmarks.speed.mutual import forwards_per_step, mutual_overhead, with_memory_given_back
from benchmarks.speed.package import against_package
from benchmarks.speed.page import conditions, markdown_table, options, publish, ratio_cells
from benchmarks.speed.timing import environment, pin
from benchmarks.speed.work import FULL, SMALLEST
from peerlearn.engine.memory import keep_freed_memory

README = Path(__file__).with_name("README.md")
HEADER = ["what", "ratio", "quartiles", "95 % interval", "CPU time", "target", ""]
SECTIONS = ("memory", "mutual", "precision", "package", "data")


def main() -> None:
    """Measure, or take what was measured; print, and fill in the README where asked."""
    parser = options(__doc__, SECTIONS, README.with_name("results.json"))
    parser.add_argument("--pytorch-dml", type=Path, help="folder that holds the package")
    arguments = parser.parse_args()
    publish(
        arguments,
        README,
        measure,
        markdown,
        show,
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, as results.json has it."""
    began = time.perf_counter()
    threads, rounds, only = arguments.threads, arguments.rounds, arguments.only
    size = SMALLEST if arguments.smallest else FULL
    processors = pin(threads)
    results: dict[str, Any] = {"environment": environment(threads), "rounds": rounds}
    lines: list[dict[str, Any]] = []
    if "memory" in only:
        lines += with_memory_given_back(rounds, size)
    keep_freed_memory()  # as Trainer.run does; from here on every arm has it, the package's too
    if "mutual" in only:
        results["forwards_per_step"] = forwards_per_step(size)
        lines += mutual_overhead(rounds, size)
    if "precision" in only:
        lines += precision_gain(rounds, size)
    if "package" in only:
        compared, results["where_time_goes_ms"] = against_package(
            rounds, threads, size.batch, arguments.pytorch_dml
        )
        lines += compared
    if "data" in only:
        lines += data_path(rounds, processors, size.batch)
    return results | {"lines": lines, "seconds": time.perf_counter() - began}


def show(results: dict[str, Any]) -> None:
    """The table on the terminal."""
    console = Console()
    table = Table(*HEADER, title="time of the first over time of the second")
    for cells in _rows(results):
        table.add_row(*cells)
    console.print(table)
    console.print(_conditions(results), _forwards(results), sep="\n", highlight=False)


def markdown(results: dict[str, Any]) -> str:
    """The tables of the README."""
    parts = [_conditions(results), "", *markdown_table(HEADER, _rows(results))]
    parts += ["", _forwards(results), "", "Medians of one call:", ""]
    medians = [
        [line["name"], work, f"{m['wall_ms']:.1f}", f"{m['cpu_ms']:.1f}", f"{m['page_faults']:.0f}"]
        for line in results["lines"]
        for work, m in line.get("works", {}).items()
    ]
    parts += markdown_table(["measured for", "work", "wall ms", "CPU ms", "page faults"], medians)
    if spent := results.get("where_time_goes_ms"):
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


def _rows(results: dict[str, Any]) -> list[list[str]]:
    rows = []
    for line in results["lines"]:
        if "skipped" in line:
            rows.append([line["name"], "–", "–", "–", "–", "–", f"skipped: {line['skipped']}"])
            continue
        rows.append(_cells(line["name"], line["ratio"], line))
        if "engine_alone" in line:
            rows.append(_cells("  of which engine without edges", line["engine_alone"], {}))
            rows.append(_cells("  of which edges", line["edges_alone"], {}))
    return rows


def _cells(name: str, ratio: dict[str, Any], line: dict[str, Any]) -> list[str]:
    cpu = line.get("cpu_ratio")
    return [
        name,
        *ratio_cells(ratio),
        f"{cpu['median']:.3f}" if cpu else "",
        line.get("target", ""),
        ("met" if line["met"] else "missed") if "met" in line else "",
    ]


def _conditions(results: dict[str, Any]) -> str:
    native = results["environment"]["bf16_native"]
    return conditions(results, f"bf16 {'native' if native else 'not native'}")


def _forwards(results: dict[str, Any]) -> str:
    counted = results.get("forwards_per_step", {})
    return "Training forwards in one mutual step: " + (
        ", ".join(f"{n} for K = {k}" for k, n in counted.items()) or "not counted"
    )


if __name__ == "__main__":
    main()
