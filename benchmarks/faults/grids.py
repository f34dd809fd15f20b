"""Grids that four workers share while they are stopped and killed, beside grids left in peace.

    python benchmarks/faults/grids.py --rounds 50 --seed 0

In every round four workers train one comparison in one folder, as `peerlearn compare --worker`
does. At random moments workers get SIGUSR1, as from a scheduler, and one is killed by SIGKILL;
those that were stopped or killed are started again. One of the four is on a host of another name,
whose clock is an hour off: the others cannot see whether its process lives, nor believe its stamps.
When all have left, `results.json`, the logs (times aside), `data.json`, `rows.npz` and the selected
weights must be equal, bit for bit, to those of one process left in peace, and no lock may be left.

Workers are forked from this process, which has imported what they need. Leases are of seconds here,
so that a round does not wait half a minute for each process that was killed on the other host.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch

from benchmarks.faults.kills import COMMON, DISCOVERY, MLP, PAIR, different, import_like, outcome
from benchmarks.speed.timing import environment
from peerlearn import locks
from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid, work
from peerlearn.engine.interruption import UNFINISHED, Interrupted, interrupt_at_once
from peerlearn.errors import RunError
from peerlearn.provenance import source_commit
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.registry import find_recipe

OUT = Path(__file__).with_name("grids.json")
WORKERS = 4
SIGNALS = 3
"""SIGUSR1 in a round."""
LEASE, HEARTBEAT = 4.0, 0.5
OFF = 3600.0
"""Seconds that the clock of the other host is off, ahead or behind."""
LONGEST = 600.0
"""Seconds after which a round has failed."""


@dataclass(frozen=True)
class Grid:
    """A comparison that is small."""

    recipe: str
    changes: Mapping[str, Any]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]

    def run(self, out: Path, alone: bool) -> None:
        """Train all of it, or what is free."""
        recipe, given = find_recipe(self.recipe)
        changes = COMMON | dict(self.changes)
        cells = plan_cells(recipe, given, changes, self.arms, self.seeds)
        given = apply_overrides(given, changes)
        if alone:
            run_grid(recipe, given, cells, out)
        else:
            work(recipe, given, cells, out)


GRIDS = {
    "dml": Grid("dml", PAIR | {"epochs": 20, "peers.b": MLP}, ("mutual", "independent"), (0, 1, 2)),
    "discovery, shared stages": Grid("discovery", DISCOVERY, ("dual", "independent"), (0, 1)),
}
SHARES = {"dml": 4, "discovery, shared stages": 1}
"""Of the rounds."""
SMALLEST = ("dml",)


@dataclass
class Count:
    """What happened in the rounds of a grid."""

    seconds: float  # of one process in peace
    rounds: int = 0
    kills: int = 0
    kills_on_the_other_host: int = 0
    signals: int = 0
    starts: int = 0
    lost: int = 0  # workers that found their folder taken over
    differences: list[str] = field(default_factory=list)


def main() -> int:
    """Rounds of every grid, the result file; 1 where something differed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="of all grids together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--smallest", action="store_true", help="one round of one grid")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out == OUT:
        parser.error("--smallest: give another --out")
    names = SMALLEST if arguments.smallest else tuple(GRIDS)
    shares = {name: SHARES[name] / sum(SHARES[each] for each in names) for name in names}
    rounds = 1 if arguments.smallest else arguments.rounds
    torch.set_num_threads(1)
    source_commit()  # asked once, for all that are forked
    locks.LEASE, locks.HEARTBEAT = LEASE, HEARTBEAT
    began, counts = time.monotonic(), {}
    for name in names:
        draw = random.Random(f"{arguments.seed} {name}")
        with tempfile.TemporaryDirectory(prefix="grids-") as folder:
            counts[name] = disturbed(GRIDS[name], Path(folder), round(rounds * shares[name]), draw)
        print(name, json.dumps(vars(counts[name])), flush=True)
    found = {
        "command": f"python benchmarks/faults/grids.py --rounds {rounds} --seed {arguments.seed}",
        "environment": environment(1),
        "seconds": round(time.monotonic() - began, 1),
        "seed": arguments.seed,
        "workers": WORKERS,
        "lease_seconds": LEASE,
        "clock_off_seconds": OFF,
        "rounds": sum(count.rounds for count in counts.values()),
        "kills": sum(count.kills for count in counts.values()),
        "signals": sum(count.signals for count in counts.values()),
        "rounds_that_differ": sum(len(count.differences) for count in counts.values()),
        "grids": {name: vars(count) for name, count in counts.items()},
    }
    text = json.dumps(found, indent=1, allow_nan=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    return 1 if found["rounds_that_differ"] else 0


def disturbed(grid: Grid, folder: Path, rounds: int, draw: random.Random) -> Count:
    """Rounds of a grid, each beside the one that was left in peace."""
    whole, began = folder / "whole", time.monotonic()
    process = start(grid, whole, alone=True)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("a grid that was left in peace failed")
    import_like(whole.with_suffix(".modules"))
    count, expected = Count(round(time.monotonic() - began, 2)), dict(outcome(whole))
    for number in range(rounds):
        out = folder / f"round-{number}"
        said = one_round(grid, out, count, draw) or list(different(out, expected))
        count.differences += [f"{out.name}: {said[0]}"] if said else []
        count.rounds += 1
        print(f"{out.name}: {said[0] if said else 'equal'}", file=sys.stderr, flush=True)
        shutil.rmtree(out, ignore_errors=True)
    return count


def one_round(grid: Grid, out: Path, count: Count, draw: random.Random) -> list[str]:
    """Workers that are disturbed until all have left; what went wrong, if anything did."""
    off = draw.choice((-OFF, OFF))
    moments = [(draw.uniform(0, count.seconds), signal.SIGUSR1) for _ in range(SIGNALS)]
    moments = sorted([*moments, (draw.uniform(0, count.seconds), signal.SIGKILL)])
    seats = {start(grid, out, off=off if seat == 0 else 0.0): seat for seat in range(WORKERS)}
    count.starts += WORKERS
    began = time.monotonic()
    while seats:
        if time.monotonic() - began > LONGEST:
            end(seats)
            return [f"not over after {LONGEST:.0f} s"]
        while moments and time.monotonic() - began > moments[0][0]:
            _, sent = moments.pop(0)
            process = draw.choice(sorted(seats))
            os.kill(process, sent)
            killed = sent == signal.SIGKILL
            count.kills += killed
            count.kills_on_the_other_host += killed and seats[process] == 0
            count.signals += not killed
        for process in list(seats):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            seat, code = seats.pop(process), os.waitstatus_to_exitcode(status)
            if code not in (0, 1, UNFINISHED, -signal.SIGKILL, -signal.SIGUSR1):
                end(seats)
                return [f"a worker ended with status {code}"]
            count.lost += code == 1
            everyone_left = not seats and not (out / "results.json").exists()
            if code != 0 or everyone_left:
                seats[start(grid, out, off=off if seat == 0 else 0.0)] = seat
                count.starts += 1
        time.sleep(0.01)
    return []


def end(processes: Iterable[int]) -> None:
    """Kill what is left of a round that has failed."""
    for process in processes:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def start(grid: Grid, out: Path, off: float = 0.0, alone: bool = False) -> int:
    """Fork a worker; its number. With `off` it is on another host, whose clock is off."""
    process = os.fork()
    if process:
        return process
    status = 3
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        interrupt_at_once()
        if off:
            elsewhere(off)
        grid.run(out, alone)
        if alone:
            out.with_suffix(".modules").write_text("\n".join(sys.modules), encoding="utf-8")
        status = 0
    except Interrupted as stop:
        status = stop.status
    except RunError as error:
        if "lost to another process" in str(error):
            status = 1
        else:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def elsewhere(off: float) -> None:
    """Let this process be on a host of another name, whose clock is so many seconds off."""
    clock, stamp = time.time, os.utime

    def shifted(path: Any, times: Any = None, **options: Any) -> None:
        stamp(path, (clock() + off, clock() + off) if times is None else times, **options)

    time.time = lambda: clock() + off
    os.utime = shifted
    socket.gethostname = lambda: "elsewhere"


if __name__ == "__main__":
    raise SystemExit(main())
