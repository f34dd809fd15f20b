"""The peers of one cell over processes: how much faster a step is, and what an exchange costs.

    python benchmarks/speed/processes.py --rounds 5

Every case trains the same cohort on the same made-up images, in one single-threaded process and in
several that start together, as by torchrun; a step is the mean of all steps of a run, without
start-up, evaluation and files. Rounds run the cases one after the other, so a busy machine slows
all of them alike; the result file says how busy it was. Beside that: how long a broadcast of logits
and the sum of gradients take between processes that have nothing else to do.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.speed.tables import interval
from benchmarks.speed.timing import Ratio, environment, of_rounds
from peerlearn.models import build_model
from peerlearn.systems.overrides import parse_assignments
from peerlearn.systems.registry import find_recipe

OUT = Path(__file__).with_name("processes.json")
TARGET = 1.7
"""Of two peers in two processes, against one process: at least so many times as fast."""
#: By name: peers, processes, and words of the configuration beside those of all.
CASES: Mapping[str, tuple[int, int, tuple[str, ...]]] = {
    "2 peers, 1 process": (2, 1, ()),
    "2 peers, 2 processes": (2, 2, ()),
    "2 peers, 2 processes, hints": (2, 2, ("transfer={knowledge: features, layer: pooled}",)),
    "4 peers, 1 process": (4, 1, ()),
    "4 peers, 2 processes": (4, 2, ()),
    "4 peers, 4 processes": (4, 4, ()),
    "2 peers, 4 processes, half a batch each": (2, 4, ("accumulate=2", "batch_size=32")),
}
AGAINST = {name: f"{peers} peers, 1 process" for name, (peers, _, _) in CASES.items()}
MODEL, ROWS, CLASSES = "resnet20", 64, 10
MANY_CLASSES, BATCH = 1000, 128
"""Beside `CLASSES`, and the rows of a batch, where logits are counted beside gradients."""


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of a training that is timed")
    parser.add_argument("--smallest", action="store_true", help="one round of two cases, tiny")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out == OUT:
        parser.error("--smallest: give another --out")
    torch.set_num_threads(1)  # before anything is computed, so that forks have no threads to miss
    rounds, steps = (1, 2) if arguments.smallest else (arguments.rounds, arguments.steps)
    found = measured(rounds, steps, arguments.smallest)
    arguments.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print("\n".join(told(found)))


def measured(rounds: int, steps: int, smallest: bool) -> dict[str, Any]:
    """All cases and exchanges."""
    cases = {name: CASES[name] for name in list(CASES)[: 2 if smallest else None]}
    model = "cnn" if smallest else MODEL
    began = environment(1)
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        data = _made_up(Path(folder), ROWS * steps)
        for number in range(rounds):
            for name in list(cases) if number % 2 == 0 else reversed(list(cases)):
                peers, world, words = cases[name]
                seconds[name].append(_together(world, partial(_train, data, peers, model, words)))
    networks = [model] if smallest else [model, "resnet18", "wrn28_10"]
    parameters = {
        name: {str(classes): _parameters(name, classes) for classes in (CLASSES, MANY_CLASSES)}
        for name in networks
    }
    few = {f"logits of {ROWS} rows": 4 * ROWS * CLASSES}
    few |= {f"gradients of {n}": 4 * parameters[n][str(CLASSES)] for n in networks[:2]}
    worlds = (2,) if smallest else (2, 4)
    exchanges = {
        str(world): dict(zip(few, _together(world, partial(_exchange, few)), strict=True))
        for world in worlds
    }
    return {
        "command": f"python benchmarks/speed/processes.py --rounds {rounds} --steps {steps}",
        "environment": began,
        "load_average_after": list(os.getloadavg()),
        "rounds": rounds,
        "model": model,
        "cases": {name: _line(name, seconds) for name in cases},
        "parameters": parameters,
        "bytes": few,
        "exchanges": exchanges,
    }


def _parameters(model: str, classes: int) -> int:
    network = build_model(model, (3, 32, 32), classes)
    return sum(parameter.numel() for parameter in network.parameters())


def _line(name: str, seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    against = AGAINST[name]
    pairs = zip(seconds[against], seconds[name], strict=True)
    faster = Ratio.of([one / many for one, many in pairs])
    line = {"step_ms": 1e3 * statistics.median(seconds[name]), "faster": vars(faster)}
    if name == "2 peers, 2 processes":
        line |= {"target": TARGET, "met": faster.median >= TARGET}
    return line


def told(found: Mapping[str, Any]) -> list[str]:
    """The result file in lines."""
    lines = [
        f"{name}: {line['step_ms']:.1f} ms a step, {line['faster']['median']:.2f} times as fast"
        for name, line in found["cases"].items()
    ]
    for world, times in found["exchanges"].items():
        lines += [
            f"{world} processes, {what}: broadcast {took['broadcast_ms']:.2f} ms, "
            f"sum {took['sum_ms']:.2f} ms"
            for what, took in times.items()
        ]
    return lines


def cases_markdown(found: Mapping[str, Any]) -> str:
    """How long a step takes, by case."""
    rows = [
        f"| {name} | {line['step_ms']:.1f} | {line['faster']['median']:.2f} "
        f"[{interval(line['faster'], 2, ', ')}] |"
        for name, line in found["cases"].items()
    ]
    head = "| case | ms a step | times as fast as one process |\n| --- | ---: | ---: |"
    model, rounds = found["model"], found["rounds"]
    said = f"Peers are {model}; medians of {rounds} rounds, in brackets {of_rounds(rounds)}."
    return "\n".join([head, *rows, "", said, ""])


def exchanges_markdown(found: Mapping[str, Any]) -> str:
    """How long processes take to tell each other so many bytes, one at a time."""
    rows = [
        f"| {what} | {found['bytes'][what]:,} | {world} | {took['broadcast_ms']:.2f} | "
        f"{took['sum_ms']:.2f} |"
        for world, times in found["exchanges"].items()
        for what, took in times.items()
    ]
    head = "| what | bytes | processes | broadcast, ms | sum, ms |\n| --- |" + " ---: |" * 4
    return "\n".join([head, *rows, ""])


def bytes_markdown(found: Mapping[str, Any]) -> str:
    """Logits of a batch beside gradients, by network, classes and rows."""
    rows = [
        f"| {name} | {count:,} | {int(classes):,} | {BATCH * int(classes) * 4:,} | {4 * count:,} | "
        f"{_about(count / (BATCH * int(classes)))} |"
        for name, by_classes in found["parameters"].items()
        for classes, count in by_classes.items()
    ]
    head = (
        f"| network | parameters | classes | bytes of logits of {BATCH} rows | "
        "bytes of gradients | gradients over logits |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    return "\n".join([head, *rows, ""])


def _about(times: float) -> str:
    return f"{times:.1f}" if times < 10 else f"{times:,.0f}"


def _made_up(folder: Path, rows: int) -> Path:
    """Images of noise with labels, as many as fill the steps."""
    draw, path = np.random.default_rng(0), folder / "noise.npz"
    arrays: dict[str, Any] = {}
    for part, count in (("train", rows), ("val", 20), ("test", 20)):
        arrays[f"x_{part}"] = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % CLASSES
    np.savez(path, **arrays)
    return path


def _together(world: int, work: Callable[[], Any]) -> Any:
    """What the first of so many processes says, forked from this one, which has imported all."""
    with socket.socket() as free, tempfile.NamedTemporaryFile("r+") as said:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        launch = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes = []
        for rank in range(world):
            process = os.fork()
            if not process:
                mine = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                os.environ.update(launch | mine if world > 1 else {})
                _work(work, Path(said.name) if rank == 0 else None)
            processes.append(process)
        ended = [os.waitpid(process, 0)[1] for process in processes]
        if any(ended):
            raise SystemExit(f"one of {world} processes has failed")
        return json.load(said)


def _work(work: Callable[[], Any], said: Path | None) -> None:
    status = 1
    try:
        found = work()
        if dist.is_initialized():
            dist.destroy_process_group()
        if said is not None:
            said.write_text(json.dumps(found), encoding="utf-8")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _train(data: Path, peers: int, model: str, words: Sequence[str]) -> float:
    """Seconds of a step."""
    recipe, given = find_recipe("dml")
    changes: dict[str, Any] = {
        "data.name": str(data), "epochs": 1, "batch_size": ROWS, "threads": 1, "precision": "fp32",
        "peers": {f"p{n}": {"model": model} for n in range(peers)},
    }  # fmt: skip
    trainer = recipe.build(recipe.resolve(given, changes | parse_assignments(words)))
    trainer.run()
    return trainer.progress.seconds / trainer.progress.steps


def _exchange(sizes: Mapping[str, int]) -> list[dict[str, float]]:
    """Milliseconds of a broadcast and of a sum of so many bytes, medians."""
    dist.init_process_group("gloo")
    found = []
    for size in sizes.values():
        numbers, times = torch.ones(size // 4), {"broadcast_ms": [0.0], "sum_ms": [0.0]}
        for name, call in (("broadcast_ms", _broadcast), ("sum_ms", dist.all_reduce)):
            times[name] = []
            for turn in range(-2, 20 if size < 2**20 else 5):
                dist.barrier()
                began = time.perf_counter()
                call(numbers)
                if turn >= 0:
                    times[name].append(1e3 * (time.perf_counter() - began))
        found.append({name: statistics.median(taken) for name, taken in times.items()})
    return found


def _broadcast(numbers: torch.Tensor) -> None:
    dist.broadcast(numbers, src=0)


if __name__ == "__main__":
    main()
