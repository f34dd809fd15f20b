"""The mutual step against K independent ones, and how often each network is called."""

from collections import Counter
from functools import partial
from typing import Any

from timing import interleave, row, summary
from work import FP32, auto_precision, engine, engine_step, plain_steps

from peerlearn.engine.precision import Precision

MUTUAL, ALONE, PLAIN = "mutual step", "engine, no edges", "plain loop"
TARGET = ("<=", 1.03)


def mutual_overhead(rounds: int) -> list[dict[str, Any]]:
    """All-to-all KL among K networks, K = 2, 4, 8, in fp32 and in auto precision."""
    precisions = {"fp32": FP32, "auto": auto_precision()}
    return [
        _measured(f"mutual step, K = {count}, {name}", count, precision, rounds, TARGET)
        for name, precision in precisions.items()
        for count in (2, 4, 8)
    ]


def with_memory_given_back(rounds: int) -> list[dict[str, Any]]:
    """The same before freed memory is kept, as it is in a process that trains by hand."""
    return [_measured("mutual step, K = 2, fp32, memory given back", 2, FP32, rounds)]


def _measured(
    name: str, count: int, precision: Precision, rounds: int, target: Any = None
) -> dict[str, Any]:
    works = {
        MUTUAL: engine_step(count, precision, "predictions: kl"),
        ALONE: engine_step(count, precision, "none"),
        PLAIN: plain_steps(count, precision),
    }
    samples = interleave(works, rounds)
    line = row(name, samples, MUTUAL, PLAIN, target)
    line["engine_alone"] = row("", samples, ALONE, PLAIN)["ratio"]
    line["edges_alone"] = row("", samples, MUTUAL, ALONE)["ratio"]
    return line | {"works": summary(samples)}


def forwards_per_step() -> dict[str, int]:
    """Training forwards in one mutual step, counted at the networks themselves."""
    counted = {}
    for count in (2, 4, 8):
        cohort, step = engine(count, FP32, "predictions: kl")
        calls: Counter[str] = Counter()
        for name, peer in cohort.train().peers.items():
            peer.register_forward_hook(partial(_count, calls, name))
        step()
        counted[str(count)] = calls.total()
    return counted


def _count(calls: Counter[str], name: str, *_: object) -> None:
    calls[name] += 1
