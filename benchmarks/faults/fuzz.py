"""Odd input by the hundred thousand: all of it works or is refused with a message.

    python benchmarks/faults/fuzz.py --cases 100000 --seed 0 --out benchmarks/faults/fuzz.json

See README.md beside this file. Cases run in worker processes; one that dies or hangs is a fault of
the case that it was at, and another takes its place.
"""

import argparse
import json
import multiprocessing
import resource
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch

from benchmarks.faults.fuzzing.case import Case
from benchmarks.faults.fuzzing.judge import LIMIT, Verdict, judged
from benchmarks.faults.fuzzing.kinds import KINDS, case_of
from benchmarks.speed.timing import environment

MEMORY = 4 * 1024**3
"""Bytes of addresses that a worker may ask for beyond those that it begins with."""
PATIENCE = 10.0
"""Seconds beyond the limit of a case after which a worker that says nothing is ended."""
CHUNK = 1000
"""Cases after which a worker makes room for a new one, so that no leak adds up."""
SHOWN = 600

Job = tuple[str, int]
"""A kind and a number."""


class Outcome(NamedTuple):
    """A verdict on a job, and the largest memory of its process so far, in bytes."""

    job: Job
    verdict: Verdict
    memory: int


def main() -> None:
    arguments = options().parse_args()
    if arguments.replay:
        replay(arguments.replay)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the workers too
    began = time.perf_counter()
    jobs = planned(arguments)
    for kind in arguments.only:
        case_of(kind, arguments.seed, 0)  # what cases share is made once, before workers are forked
    results = Results(arguments.seed, arguments.reproducers)
    for outcome in outcomes(jobs, arguments):
        results.add(outcome)
        if results.count % 1000 == 0:
            rate = results.count / (time.perf_counter() - began)
            print(f"{results.count:,} of {len(jobs):,} cases, {rate:.0f} a second, "
                  f"{len(results.faults)} kinds of faults", flush=True)  # fmt: skip
    about = {
        "environment": environment(arguments.workers),
        "command": shlex.join(["python", *sys.argv]),
        "seed": arguments.seed,
        "seconds": time.perf_counter() - began,
    }
    text = json.dumps(about | results.summary(), indent=1, ensure_ascii=False)
    arguments.out.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    print(results.table())


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="key of every case, with its number")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="seconds that a case may take on a quiet machine"
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--smallest", action="store_true", help="a case a kind: shows that it runs")
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"), help="file of the results")
    parser.add_argument(
        "--reproducers", type=Path, help="folder for the first case of every fault, for --replay"
    )
    parser.add_argument("--replay", type=Path, metavar="CASE", help="try one saved case again")
    return parser


def planned(arguments: argparse.Namespace) -> list[Job]:
    """Which cases are tried, those of all kinds mixed."""
    shares = {kind: KINDS[kind].share for kind in arguments.only}
    whole = sum(shares.values())
    jobs: list[tuple[float, Job]] = []
    for kind, share in shares.items():
        count = 1 if arguments.smallest else max(1, round(arguments.cases * share / whole))
        jobs += [((number + 0.5) / count, (kind, number)) for number in range(count)]
    return [job for _, job in sorted(jobs)]


def outcomes(jobs: Sequence[Job], arguments: argparse.Namespace) -> Iterator[Outcome]:
    """Try the cases in processes; one that dies or hangs is a fault of its case."""
    chunks = [list(jobs[first : first + CHUNK]) for first in range(0, len(jobs), CHUNK)][::-1]
    running: list[Worker] = []
    try:
        while chunks or running:
            while chunks and len(running) < arguments.workers:
                running.append(Worker(chunks.pop(), arguments.seed, arguments.limit))
            wait([worker.told for worker in running], timeout=1)
            for worker in list(running):
                yield from worker.news()
                if not worker.over():
                    continue
                running.remove(worker)
                if (lost := worker.lost()) is not None:
                    yield lost
                if worker.left:
                    chunks.append(worker.left)
    finally:
        for worker in running:
            worker.process.kill()


class Worker:
    """A process that tries cases one after the other and tells of each."""

    def __init__(self, jobs: list[Job], seed: int, limit: float) -> None:
        context = multiprocessing.get_context("fork")  # what is imported need not be again
        self.left, self.limit = jobs, limit
        self.told, telling = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(list(jobs), seed, limit, telling))
        self.process.start()
        telling.close()
        self.heard, self.ended = time.monotonic(), False

    def news(self) -> Iterator[Outcome]:
        """What it has told since the last time."""
        try:
            while self.told.poll():
                outcome: Outcome = self.told.recv()
                self.heard = time.monotonic()
                self.left = self.left[1:]
                yield outcome
        except EOFError:
            self.ended = True
            self.process.join(PATIENCE)

    def over(self) -> bool:
        """Whether it is done, dead, or as good as dead; then it is no more."""
        if self.process.is_alive() and time.monotonic() - self.heard > self.limit + PATIENCE:
            self.process.kill()
            self.process.join()
            self.ended = True
        return self.ended

    def lost(self) -> Outcome | None:
        """The fault of the case that ended it; it is not tried again."""
        if not self.left:
            return None
        code = self.process.exitcode or 0
        seconds = time.monotonic() - self.heard
        hung = seconds > self.limit
        what = f"hang: killed after {seconds:.0f} s" if hung else f"crash: exit status {code}"
        job, self.left = self.left[0], self.left[1:]
        verdict = Verdict("fault", what, f"{what.partition(':')[0]} {job[0]} {code}", seconds)
        return Outcome(job, verdict, 0)


def _work(jobs: Sequence[Job], seed: int, limit: float, telling: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for kind, number in jobs:
        verdict = judged(case_of(kind, seed, number), limit)
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        telling.send(Outcome((kind, number), verdict, memory))


class Results:
    """What became of the cases, by kind, and every fault with the first case that shows it."""

    def __init__(self, seed: int, reproducers: Path | None) -> None:
        self.seed, self.reproducers = seed, reproducers
        self.count, self.memory = 0, 0
        self.kinds: dict[str, Counter[str]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.slowest: dict[str, tuple[float, int]] = {}
        self.faults: dict[str, dict[str, Any]] = {}

    def add(self, outcome: Outcome) -> None:
        """Count an outcome; the case of a new fault is kept as a file."""
        (kind, number), verdict = outcome.job, outcome.verdict
        self.count += 1
        self.memory = max(self.memory, outcome.memory)
        self.kinds.setdefault(kind, Counter())[verdict.status] += 1
        self.seconds.setdefault(kind, []).append(verdict.seconds)
        self.slowest[kind] = max(self.slowest.get(kind, (0.0, 0)), (verdict.seconds, number))
        if verdict.status != "fault":
            return
        place = f"{kind}: {verdict.where}"
        if place in self.faults:
            self.faults[place]["cases"] += 1
            return
        self.faults[place] = {
            "kind": kind, "number": number, "cases": 1, "what": verdict.what[:SHOWN],
        }  # fmt: skip
        print(
            f"fault, {kind} {number}: {verdict.what.splitlines()[0]} ({verdict.where})", flush=True
        )
        if self.reproducers is not None:
            self.reproducers.mkdir(parents=True, exist_ok=True)
            file = self.reproducers / f"{kind.replace(' ', '-')}-{self.seed}-{number}.json"
            file.write_text(case_of(kind, self.seed, number).dump(), encoding="utf-8")

    def summary(self) -> dict[str, Any]:
        """What the result file holds of it."""
        kinds = {
            kind: {status: counts[status] for status in ("worked", "refused", "fault")}
            | {"slowest": dict(zip(("seconds", "number"), self.slowest[kind], strict=True)),
               "seconds": round(sum(self.seconds[kind]), 1)}
            for kind, counts in self._in_order()
        }  # fmt: skip
        return {"cases": self.count, "peak_memory_mb": self.memory // 2**20, "kinds": kinds,
                "outside": self._with("written outside"), "executed": self._with("executed"),
                "faults": self.faults}  # fmt: skip

    def _in_order(self) -> list[tuple[str, Counter[str]]]:
        return [(kind, self.kinds[kind]) for kind in KINDS if kind in self.kinds]

    def _with(self, begin: str) -> int:
        found = (it for it in self.faults.values() if it["what"].startswith(begin))
        return sum(fault["cases"] for fault in found)

    def table(self) -> str:
        """The counts as Markdown."""
        lines = ["| kind | cases | worked | refused | faults | ms a case | slowest, s |",
                 "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
        for kind, counts in self._in_order():
            cases, mean = counts.total(), 1000 * sum(self.seconds[kind]) / counts.total()
            lines.append(
                f"| {kind} | {cases:,} | {counts['worked']:,} | {counts['refused']:,} | "
                f"{counts['fault']:,} | {mean:.0f} | {self.slowest[kind][0]:.1f} |"
            )
        return "\n".join(lines)


def replay(file: Path) -> None:
    """Try a saved case again and say what becomes of it."""
    case = Case.load(file.read_text(encoding="utf-8"))
    print(shlex.join(case.words), *case.files, sep="\n  ")
    verdict = judged(case)
    print(f"{verdict.status} after {verdict.seconds:.2f} s: {verdict.what}")


if __name__ == "__main__":
    main()
