"""The mutual step against K independent ones, and how often each network is called."""

from collections import Counter
from functools import partial
from typing import Any

from benchmarks.speed.timing import Opened, Work, interleave, row, summary
from benchmarks.speed.work import (
    FP32,
    Size,
    auto_precision,
    engine_step,
    plain_steps,
    stepping,
    trainer_of,
)
from peerlearn.engine.precision import Precision

MUTUAL, ALONE, PLAIN = "mutual step", "engine, no edges", "plain loop"
TARGET = ("<=", 1.03)


def mutual_overhead(rounds: int, size: Size) -> list[dict[str, Any]]:
    """All-to-all KL among K networks, K = 2, 4, 8, in fp32 and in auto precision."""
    precisions = {"fp32": FP32, "auto": auto_precision()}
    return [
        _measured(f"mutual step, K = {count}, {name}", count, precision, rounds, size, TARGET)
        for name, precision in precisions.items()
        for count in size.peers
    ]


def with_memory_given_back(rounds: int, size: Size) -> list[dict[str, Any]]:
    """The same before freed memory is kept, as it is in a process that trains by hand."""
    return [_measured("mutual step, K = 2, fp32, memory given back", 2, FP32, rounds, size)]


def _measured(
    name: str, count: int, precision: Precision, rounds: int, size: Size, target: Any = None
) -> dict[str, Any]:
    works: dict[str, Work | Opened] = {
        MUTUAL: engine_step(count, precision, size.batch, "predictions: kl"),
        ALONE: engine_step(count, precision, size.batch, "none"),
        PLAIN: plain_steps(count, precision, size.batch),
    }
    samples = interleave(works, rounds)
    line = row(name, samples, MUTUAL, PLAIN, target)
    line["parts"] = {
        "engine without edges": row("", samples, ALONE, PLAIN)["ratio"],
        "edges": row("", samples, MUTUAL, ALONE)["ratio"],
    }
    return line | {"works": summary(samples)}


def forwards_per_step(size: Size) -> dict[str, int]:
    """Training forwards in one mutual step, counted at the networks themselves."""
    counted = {}
    for count in size.peers:
        trainer = trainer_of(count, FP32, size.batch, "predictions: kl")
        calls: Counter[str] = Counter()
        for name, peer in trainer.cohort.peers.items():
            peer.register_forward_hook(partial(_count, calls, name))
        with stepping(trainer) as step:
            step()
        counted[str(count)] = calls.total()
    return counted


def _count(calls: Counter[str], name: str, *_: object) -> None:
    calls[name] += 1
