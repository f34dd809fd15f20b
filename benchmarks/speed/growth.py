"""How time and memory grow: with peers, classes, rows, edges, and users times items. See GROWTH.md.

python benchmarks/speed/growth.py --write-readme
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.graph.cohorts import epoch_of
from benchmarks.graph.graphs import random_dataset
from benchmarks.graph.peers import gcns
from benchmarks.speed.exchange import OURS, PEERS, Given
from benchmarks.speed.growth_plot import draw
from benchmarks.speed.page import Results, conditions, lines_of, options, publish
from benchmarks.speed.tables import markdown_table
from benchmarks.speed.timing import Opened, Sample, Work, interleave, ratio
from benchmarks.speed.work import FP32, engine_step, stepping
from peerlearn.engine.precision import keep_freed_memory
from peerlearn.engine.trainer import Trainer
from peerlearn.systems.registry import find_recipe

PAGE = Path(__file__).with_name("GROWTH.md")
PICTURE = PAGE.with_name("growth.svg")
MODEL, ROWS, NODES, NEIGHBOURS = "cnn", 32, 10_000, 1.5


class Curve(NamedTuple):
    """What is measured at several sizes."""

    what: str
    over: str  # what the sizes count
    sizes: tuple[int, ...]
    make: Callable[[int], Work | Opened]
    exponent: float  # of the growth that is expected at the large end


def of_peers(count: int) -> Opened:
    """A step of `count` networks that all teach each other."""
    transfer = "predictions: kl" if count > 1 else "none"
    return engine_step(count, FP32, ROWS, transfer, MODEL)


def of_rows(rows: int) -> Opened:
    """A step of two networks on so many rows."""
    return engine_step(2, FP32, rows, "predictions: kl", MODEL)


def of_classes(classes: int) -> Work:
    """Losses of eight peers and their gradients, from given logits."""
    return partial(Given.of(4 * ROWS, classes).once, OURS)


def of_edges(edges: int) -> Opened:
    """An epoch of four GCNs on a random graph."""
    return epoch_of(gcns(4), random_dataset(edges, NODES))


def recommending(pairs: int, stage: int | None = None) -> Trainer:
    """Recipe `music` in a world of so many users times items, three items for two users."""
    users = max(round(math.sqrt(pairs / NEIGHBOURS)), 2)
    world = {"users": users, "items": round(pairs / users)}
    system, given = find_recipe("music")
    changes = {f"data.world.{key}": value for key, value in world.items()}
    return system.build(system.resolve(given, {**changes, "threads": 1, "device": "cpu"}))


def of_recommending(pairs: int) -> Opened:
    """A step of recipe `music`."""
    return stepping(recommending(pairs))


@contextmanager
def of_ranking(pairs: int) -> Iterator[Work]:
    """A validation of recipe `music`, which ranks all items for every user."""
    trainer = recommending(pairs)
    assert trainer.task is not None, "a recipe has a task"
    yield partial(trainer.task.evaluate, trainer.forward, "validation")


CURVES = {
    "peers": Curve("step, all teach all", "peers", (1, 2, 4, 8, 16), of_peers, 1),
    "rows": Curve("step of 2 peers", "rows of a batch", (8, 16, 32, 64, 128), of_rows, 1),
    "classes": Curve(f"losses of {PEERS}", "classes", (10, 100, 1_000, 10_000), of_classes, 1),
    "edges": Curve(
        "epoch of 4 GCNs", "edges", (25_000, 50_000, 100_000, 200_000, 400_000), of_edges, 1
    ),
    "step": Curve(
        "step of 3 branches",
        "users × items",
        (6_000, 24_000, 96_000, 384_000, 1_536_000),
        of_recommending,
        0.5,  # networks run over users plus items, and a batch has as many users in any world
    ),
    "ranking": Curve(
        "validation of 3 branches",
        "users × items",
        (6_000, 24_000, 96_000, 384_000, 1_536_000),
        of_ranking,
        1,
    ),
}
WITHIN = 0.15
"""How far above the expected exponent a measured one may be."""


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One section: time by size in one run, and what each size keeps for the way back."""
    keep_freed_memory()  # as Trainer.run does
    curve = CURVES[name]
    sizes = curve.sizes[:2] if arguments.smallest else curve.sizes
    works = {str(size): curve.make(size) for size in sizes}
    samples, kept = timed_and_counted(works, arguments.rounds)
    points = [
        {"size": size, **_time(samples[str(size)]), "kept": kept[str(size)]} for size in sizes
    ]
    time = exponent([p["size"] for p in points], [p["cpu_s"] for p in points])
    memory = [p["kept"] for p in points]
    line = {
        "name": f"{curve.what}, {sizes[0]:,} to {sizes[-1]:,} {curve.over}",
        "what": curve.what,
        "over": curve.over,
        "points": points,
        "ratio": asdict(ratio(samples, str(sizes[-1]), str(sizes[0]), "cpu")),
        "time_exponent": time,
        "memory_exponent": exponent([p["size"] for p in points], memory) if all(memory) else None,
        "target": f"<= {curve.exponent + WITHIN:g}",
        "met": time <= curve.exponent + WITHIN,
    }
    return {"lines": [line]}


def timed_and_counted(
    works: Mapping[str, Work | Opened], rounds: int
) -> tuple[dict[str, list[Sample]], dict[str, int]]:
    """Samples of every work, and the bytes that one call of it keeps for its backward pass."""
    kept: dict[str, int] = {}
    with ExitStack() as around:
        ready = {
            name: around.enter_context(work) if isinstance(work, AbstractContextManager) else work
            for name, work in works.items()
        }
        samples = interleave(ready, rounds)
        for name, work in ready.items():
            kept[name] = bytes_kept(work)
    return samples, kept


def bytes_kept(work: Work) -> int:
    """Bytes of the tensors that autograd keeps while `work` runs, each memory counted once.

    Weights and inputs among them: what a step holds at once between its forward and its backward.
    """
    memories: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            memories[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(memories.values())


def exponent(sizes: Sequence[float], amounts: Sequence[float]) -> float:
    """p of amount ~ size^p: the slope between the logarithms of the two largest sizes.

    Small sizes cost what calls cost, whatever they compute: only the large end says how it goes on.
    """
    (a, b), (before, last) = sizes[-2:], amounts[-2:]
    return math.log(last / before) / math.log(b / a)


def _time(taken: Sequence[Sample]) -> dict[str, float]:
    """Processor time: neighbours add little to it."""
    cpu = sorted(sample.cpu for sample in taken)
    q25, q75 = map(float, np.quantile(cpu, (0.25, 0.75)))
    return {"cpu_s": statistics.median(cpu), "cpu_q25": q25, "cpu_q75": q75}


def markdown(results: Results) -> str:
    """The tables of the page."""
    header = ["what", "size", "CPU ms", "kept, MB", "time ~ size^", "memory ~ size^", "target", ""]
    rows = []
    for line in lines_of(results):
        for point in line["points"]:
            last = point is line["points"][-1]
            memory = line["memory_exponent"]
            ends = [
                f"{line['time_exponent']:.2f}",
                "–" if memory is None else f"{memory:.2f}",
                line["target"],
                "met" if line["met"] else "missed",
            ]
            rows.append(
                [
                    line["what"],
                    f"{point['size']:,} {line['over']}",
                    f"{1e3 * point['cpu_s']:.2f}",
                    f"{point['kept'] / 1e6:.1f}" if point["kept"] else "–",
                    *(ends if last else [""] * 4),
                ]
            )
    return "\n".join([conditions(results), "", *markdown_table(header, rows)]) + "\n"


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    sections = {name: partial(measured, name) for name in CURVES}
    arguments = options(__doc__, sections, PAGE.with_name("growth.json")).parse_args()
    publish(arguments, PAGE, sections, markdown)
    if arguments.write_readme and (reason := draw(measured_before(arguments.out), PICTURE)):
        raise SystemExit(f"no picture: {reason}")


def measured_before(file: Path) -> Results:
    """What a file of results holds."""
    results: Results = json.loads(file.read_text(encoding="utf-8"))
    return results


if __name__ == "__main__":
    main()
