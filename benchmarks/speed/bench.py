"""Every system in one table: its step against the sum of its parts, plain PyTorch, and rivals.

python benchmarks/speed/bench.py --check       # prints the table; fails where a ratio got worse
python benchmarks/speed/bench.py --write-readme
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.bayesian.speed import PLAIN, RIVAL, THEIRS, steps
from benchmarks.graph.cohorts import epoch_of
from benchmarks.graph.graphs import cora
from benchmarks.graph.peers import mixed
from benchmarks.speed.alone import Bare
from benchmarks.speed.page import Results, conditions, lines_of, options, publish
from benchmarks.speed.share import CASES, trainer_of
from benchmarks.speed.tables import Shown, interval_cell, markdown_table, show
from benchmarks.speed.timing import Opened, Work, interleave, row, summary
from peerlearn.engine.precision import keep_freed_memory
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError

PAGE = Path(__file__).with_name("BENCH.md")
COMMITTED = PAGE.with_name("bench.json")
ENGINE, PARTS_OF_IT, NETWORKS = "the engine's step", "sum of its parts", "networks by hand"
BATCHES = 3
"""Of a recipe's epoch, in turn."""

WORSE = 0.05
"""A ratio that is worse by less than this is not told from noise, whatever the intervals say."""


def system(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A step of a recipe's last stage, of its parts, and of its networks in plain PyTorch.

    The parts are forwards, the recipe's losses, backward and optimisers, called one after the
    other; plain PyTorch is the same networks, each trained alone with cross-entropy.
    """
    keep_freed_memory()  # as Trainer.run does; all sides have it
    try:
        with trainer_of(CASES[name], arguments) as trainer, _works(trainer) as works:
            samples = interleave(works, arguments.rounds)
    except InputError as error:  # data that are not here
        return {"lines": [{"name": name, "skipped": str(error).splitlines()[0]}]}
    lines = [
        row(f"{name}: over {PARTS_OF_IT}", samples, ENGINE, PARTS_OF_IT),
        row(f"{name}: over {NETWORKS}", samples, ENGINE, NETWORKS),
    ]
    lines[0]["works"] = summary(samples)
    return {"lines": lines}


@contextmanager
def _works(trainer: Trainer) -> Iterator[Mapping[str, Work]]:
    """In the last stage, after its edges have opened; several batches in turn."""
    stages = enumerate(trainer.stages)
    last = max(n for n, stage in stages if isinstance(stage, TrainingStage) and stage.epochs)
    with trainer.stepping(last):
        assert trainer.current is not None, "a stage is running"
        bare, stepper = Bare(trainer.current, BATCHES), trainer.current.stepper
        end = len(trainer.current.stage.loader) * (stepper.epochs - 1)

        def engine() -> None:
            for number, batch in enumerate(bare.seen):
                stepper.step(end + number, stepper.epochs - 1, [batch])

        yield {
            ENGINE: engine,
            PARTS_OF_IT: partial(bare.with_losses, (stepper.epochs - 1) / stepper.epochs),
            NETWORKS: bare.alone,
        }


def bayesian_torch(arguments: argparse.Namespace) -> dict[str, Any]:
    """A step of a Bayesian network against the same in bayesian-torch."""
    keep_freed_memory()
    rows = 4 if arguments.smallest else 128
    works = steps("cnn", (1, 28, 28), rows, "fp32")
    found: list[dict[str, Any]] = []
    chosen = {name: work for name, work in works.items() if name == PLAIN or _compared(name)}
    samples = interleave(chosen, arguments.rounds)
    for ours, theirs in THEIRS.items():
        said = f"bayesian, {ours}: over {RIVAL}"
        if f"{RIVAL}, {theirs}" in works:
            found.append(row(said, samples, ours, f"{RIVAL}, {theirs}"))
        else:
            found.append({"name": said, "skipped": f"{RIVAL} is not installed"})
    return {"lines": found}


def _compared(name: str) -> bool:
    return name in THEIRS or name.startswith(RIVAL)


def torch_geometric(arguments: argparse.Namespace) -> dict[str, Any]:
    """An epoch of a GCN, a GAT and a GraphSAGE that teach each other, against theirs alone."""
    keep_freed_memory()
    name = "gml-node, GCN + GAT + SAGE: over torch-geometric"
    try:
        from benchmarks.graph import geometric
    except ImportError as error:
        return {"lines": [{"name": name, "skipped": str(error)}]}
    data, source = cora(arguments.smallest)
    works: dict[str, Work | Opened] = {
        "peerlearn": epoch_of(mixed(), data),
        "torch-geometric": geometric.epoch_of(mixed(), data),
    }
    samples = interleave(works, arguments.rounds)
    return {"lines": [row(name, samples, "peerlearn", "torch-geometric")], "details": [source]}


SECTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    **{name: partial(system, name) for name in CASES if not name.endswith("-auto")},
    "bayesian-torch": bayesian_torch,
    "torch-geometric": torch_geometric,
}


def worse(now: Results, before: Results) -> list[str]:
    """Ratios that got worse than those that were kept, beyond noise.

    By processor time: worse is one whose 95 % interval (of few rounds, their range) lies above the
    one that was kept, and whose median is more than `WORSE` above it.
    """
    kept = {line["name"]: line for line in lines_of(before) if "skipped" not in line}
    found = []
    for line in lines_of(now):
        if "skipped" in line or line["name"] not in kept:
            continue
        here, there = line["cpu_ratio"], kept[line["name"]]["cpu_ratio"]
        apart = here["ci95"][0] > there["ci95"][1]
        if apart and here["median"] > (1 + WORSE) * there["median"]:
            found.append(f"{line['name']}: {here['median']:.2f}, before {there['median']:.2f}")
    return found


def main() -> None:
    """Measure, or take what was measured; print; compare with what was kept where asked."""
    parser = options(__doc__, SECTIONS, COMMITTED)
    parser.add_argument("--check", type=Path, nargs="?", const=COMMITTED, help="a file to compare")
    arguments = parser.parse_args()
    before = json.loads(arguments.check.read_text(encoding="utf-8")) if arguments.check else {}
    if arguments.check and arguments.out == COMMITTED and not arguments.reuse:
        raise SystemExit("--check compares with what was kept; give another --out")
    publish(arguments, PAGE, SECTIONS, markdown, printed)
    if arguments.check:
        found = worse(json.loads(arguments.out.read_text(encoding="utf-8")), before)
        print("worse than before:", *(found or ["none"]), sep="\n  ")
        raise SystemExit(1 if found else 0)


HEADER = ["step of", "CPU time", "95 % interval", "wall", ""]


def _rows(results: Results) -> list[list[str]]:
    rows = []
    for line in lines_of(results):
        if "skipped" in line:
            rows.append([line["name"], "–", "", "", f"skipped: {line['skipped']}"])
            continue
        cpu, wall = line["cpu_ratio"], f"{line['ratio']['median']:.2f}"
        rows.append([line["name"], f"{cpu['median']:.2f}", interval_cell(cpu, 2), wall, ""])
    return rows


def printed(results: Results) -> None:
    """The table on the terminal."""
    show([Shown("ours over theirs", HEADER, _rows(results))], conditions(results))


def markdown(results: Results) -> str:
    """The table of the page."""
    return "\n".join([conditions(results), "", *markdown_table(HEADER, _rows(results))]) + "\n"


if __name__ == "__main__":
    main()
