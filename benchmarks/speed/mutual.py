"""The mutual step against K independent ones, and how often each network is called."""

import ctypes
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
        _measured(f"mutual step, K = {count}, {name}", count, precision, rounds)
        for name, precision in precisions.items()
        for count in (2, 4, 8)
    ]


def kept_memory(rounds: int) -> list[dict[str, Any]]:
    """The same with an allocator that keeps what is freed. Changes this process: run it last."""
    if not keep_freed_memory():
        return [{"name": "freed memory kept", "skipped": "no mallopt in this C library"}]
    return [_measured("mutual step, K = 2, fp32, freed memory kept", 2, FP32, rounds)]


def _measured(name: str, count: int, precision: Precision, rounds: int) -> dict[str, Any]:
    works = {
        MUTUAL: engine_step(count, precision, "predictions: kl"),
        ALONE: engine_step(count, precision, "none"),
        PLAIN: plain_steps(count, precision),
    }
    samples = interleave(works, rounds)
    line = row(name, samples, MUTUAL, PLAIN, TARGET)
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


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory rather than to return it and to map it again every step."""
    mmap_threshold, trim_threshold = -3, -1  # names of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(mmap_threshold, 32 << 20) and mallopt(trim_threshold, 2**31 - 1))
