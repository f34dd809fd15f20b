"""Interleaved timing on a shared machine: rounds of A B C …, ratios within a round, medians."""

import datetime
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from peerlearn.provenance import processor

Work = Callable[[], object]
Opened = AbstractContextManager[Work]
"""Work that needs something around it, such as networks in training mode."""

FEWEST_ROUNDS = 6
"""With fewer, no two of the ratios hold the median between them in 95 % of cases."""


@dataclass(frozen=True)
class Sample:
    """One timed call: seconds of wall clock, seconds of this process' CPU, pages mapped anew."""

    wall: float
    cpu: float
    faults: int


@dataclass(frozen=True)
class Ratio:
    """Time of one piece of work over another's: median over rounds, quartiles, 95 % interval.

    The interval is that of the median by order statistics, so it assumes no distribution. With
    fewer than `FEWEST_ROUNDS` it is the range, which covers less: `of_rounds`.
    """

    median: float
    q25: float
    q75: float
    ci95: tuple[float, float]
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> "Ratio":
        ordered = sorted(values)
        n = len(ordered)
        low = max(int(binom.ppf(0.025, n, 0.5)) - 1, 0)
        q25, q75 = map(float, np.quantile(ordered, (0.25, 0.75)))
        interval = (ordered[low], ordered[n - 1 - low])
        return cls(statistics.median(ordered), q25, q75, interval, n)


def of_rounds(rounds: int) -> str:
    """What `Ratio.ci95` of so many rounds is."""
    if rounds >= FEWEST_ROUNDS:
        return "95 % intervals"
    if rounds < 2:
        return "the ratio again"
    covered = 100 * (1 - 2 * 0.5**rounds)
    return f"the range, which covers the median in {covered:.3g} % of cases"


Samples = dict[str, list[Sample]]


def interleave(works: Mapping[str, Work | Opened], rounds: int, warm_up: int = 1) -> Samples:
    """Call every work once a round, and reverse the order every other round.

    Work of one round runs back to back, so a busy neighbour slows all of it alike; the reversal
    cancels what one work leaves behind for the next (caches, heap).
    """
    samples: Samples = {name: [] for name in works}
    with ExitStack() as around:
        ready = {
            name: around.enter_context(work) if isinstance(work, AbstractContextManager) else work
            for name, work in works.items()
        }
        for number in range(-warm_up, rounds):
            for name in list(ready) if number % 2 else reversed(list(ready)):
                sample = timed(ready[name])
                if number >= 0:
                    samples[name].append(sample)
    return samples


def timed(work: Work) -> Sample:
    """One call of `work`."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)


def ratio(samples: Samples, over: str, under: str, clock: str = "wall") -> Ratio:
    """Time of `over` divided by the time of `under`, round by round; `clock`: wall or cpu."""
    pairs = zip(samples[over], samples[under], strict=True)
    return Ratio.of([getattr(a, clock) / getattr(b, clock) for a, b in pairs])


def summary(samples: Samples) -> dict[str, dict[str, float]]:
    """Medians of every work."""
    return {
        name: {
            "wall_ms": 1e3 * statistics.median(s.wall for s in taken),
            "cpu_ms": 1e3 * statistics.median(s.cpu for s in taken),
            "page_faults": statistics.median(s.faults for s in taken),
        }
        for name, taken in samples.items()
    }


def row(
    name: str,
    samples: Samples,
    over: str,
    under: str,
    target: tuple[str, float] | None = None,
    cpu: bool = True,
) -> dict[str, Any]:
    """One line of the table: how much longer `over` takes than `under`.

    Args:
        name: what the line says.
        target: `("<=", 1.03)` or `(">=", 2)`; None where the line only explains.
        cpu: whether CPU time counts too; not where worker processes do part of the work.
    """
    measured = ratio(samples, over, under)
    line: dict[str, Any] = {"name": name, "over": over, "under": under, "ratio": asdict(measured)}
    line["cpu_ratio"] = asdict(ratio(samples, over, under, "cpu")) if cpu else None
    if target is not None:
        sign, bound = target
        met = measured.median <= bound if sign == "<=" else measured.median >= bound
        line |= {"target": f"{sign} {bound:g}", "met": met}
    return line


def pin(threads: int) -> list[int]:
    """Run on `threads` threads of the last `threads` processors; returns those free before."""
    torch.set_num_threads(threads)
    if not hasattr(os, "sched_setaffinity"):
        return []
    free = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, free[-threads:])
    return free


def environment(threads: int) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "commit": _commit(),
        "processor": processor(),
        "processors": os.cpu_count(),
        "threads": threads,
        "pinned": hasattr(os, "sched_setaffinity"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "bf16_native": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "load_average": list(os.getloadavg()),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """What was measured; with a plus where files differ from the commit."""
    command = ["git", "describe", "--always", "--abbrev=9", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None
