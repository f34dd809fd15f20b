"""Kill peers that publish snapshots at random moments, and see that no run is lost.

    python benchmarks/faults/lost_peers.py --kills 50 --seed 0

Three peers train in processes of their own and learn from each other's newest weights
(`transport: snapshot`). One of them begins late. At random moments a random one is killed by
SIGKILL, and goes on from its folder after a while; in every other round the last one that was
killed stays dead. A run is lost where a process ends otherwise than well though nobody killed it,
or where what it leaves behind is not whole: `results.json` with finite numbers, one record for each
epoch, selected weights, a snapshot that others would take, and no temporary file or lock.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch

import peerlearn
from benchmarks.faults.kills import CNN, COMMON, MLP, OPEN, ended_well, import_like, launch, wait
from benchmarks.speed.timing import environment
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.snapshots import FILE, read_snapshot
from peerlearn.errors import InputError

OUT = Path(__file__).with_name("lost_peers.json")
PEERS = {"a": MLP, "b": CNN, "c": MLP | {"arguments": {"hidden": [8]}}}
EPOCHS = 12
KILLS = 6
"""Of one round at most."""


@dataclass(frozen=True)
class OnePeer:
    """A run of one peer of the cohort."""

    peer: str
    shared: Path

    def run(self, out: Path) -> None:
        """Train into `out`, from where it was left."""
        transport = {"kind": "snapshot", "folder": str(self.shared), "peer": self.peer, "every": 3}
        changes = {
            "data.train_size": 200, "batch_size": 32, "epochs": EPOCHS, "peers": PEERS,
            "transport": transport,
        }  # fmt: skip
        recipe = peerlearn.recipe("dml", COMMON | OPEN | changes)
        recipe.run(seed=0, out=out, resume=(out / "config.yaml").exists())


@dataclass
class Count:
    """What happened."""

    rounds: int = 0
    kills: int = 0
    abandoned: int = 0  # peers that were killed and never came back
    finished: int = 0  # runs that were killed or not, and came to their end
    seen: int = 0  # peers that some finished run had learned from at its end
    lost: list[str] = field(default_factory=list)


def main() -> int:
    """Kill, look, write the result file; 1 where a run was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--smallest", action="store_true", help="two kills")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out == OUT:
        parser.error("--smallest: give another --out")
    kills = 2 if arguments.smallest else arguments.kills
    torch.set_num_threads(1)
    began, at_first = time.monotonic(), environment(1)
    count, draw = Count(), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="lost-peers-") as folder:
        seconds = _in_peace(Path(folder))
        while count.kills < kills:
            one_round(Path(folder) / f"round-{count.rounds}", kills, seconds, count, draw)
    found = {
        "command": f"python benchmarks/faults/lost_peers.py --kills {kills} "
        f"--seed {arguments.seed}",
        "environment": at_first,
        "seconds": round(time.monotonic() - began, 1),
        "peers": len(PEERS),
        "epochs": EPOCHS,
        **vars(count),
    }
    text = json.dumps(found, indent=1, allow_nan=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if count.lost else 0


def lost_markdown(found: dict[str, Any]) -> str:
    """What was killed, and what became of it."""
    return (
        "| kills | cohorts | runs that ended | peers that never came back | runs lost |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n"
        f"| {found['kills']} | {found['rounds']} | {found['finished']} | {found['abandoned']} | "
        f"{len(found['lost'])} |\n"
    )


def _in_peace(folder: Path) -> float:
    """Seconds of a run that nobody kills; what it imports is imported here for all that follow."""
    wait(launch(OnePeer("a", folder / "shared"), folder / "first"))
    import_like(folder / "first.modules")
    began = time.monotonic()
    wait(launch(OnePeer("b", folder / "shared"), folder / "second"))
    return time.monotonic() - began


def one_round(folder: Path, most: int, seconds: float, count: Count, draw: random.Random) -> None:
    """A cohort, from its beginning until all its peers have come to their end or are dead.

    Args:
        most: kills of all rounds together.
        seconds: that a run takes.
    """
    runs = {name: OnePeer(name, folder / "shared") for name in PEERS}
    late = draw.choice(list(runs))
    running = {name: launch(run, folder / name) for name, run in runs.items() if name != late}
    dead: list[str] = [late]
    killed = 0
    while killed < KILLS and count.kills < most:
        time.sleep(draw.uniform(0, seconds / 4))
        for name in dead:
            running[name] = launch(runs[name], folder / name)
        dead.clear()
        victim = draw.choice(sorted(running))
        if _kill(running.pop(victim), victim, count):
            killed, count.kills = killed + 1, count.kills + 1
            dead.append(victim)
        if not running and not dead:
            break  # all of them have ended
    if count.rounds % 2:
        count.abandoned += len(dead)
    else:
        running |= {name: launch(runs[name], folder / name) for name in dead}
    for name, process in running.items():
        _ended(os.waitpid(process, 0)[1], name, count)
    gone = set(dead) - running.keys()
    for name in runs.keys() - gone:
        count.lost += [
            f"round {count.rounds}, peer {name}: {why}" for why in wrong(runs[name], folder / name)
        ]
        count.finished += 1
        last = json.loads((folder / name / "metrics.jsonl").read_text().splitlines()[-1])
        count.seen += sum(step is not None for step in last["snapshots"].values())
    count.rounds += 1


def _kill(process: int, name: str, count: Count) -> bool:
    """Kill a process; False where it had ended before."""
    ended, status = os.waitpid(process, os.WNOHANG)
    if not ended:
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status):
            return True
    _ended(status, name, count)
    return False


def _ended(status: int, name: str, count: Count) -> None:
    try:
        ended_well(status)
    except RuntimeError as error:
        count.lost.append(f"round {count.rounds}, peer {name}: {error}")


def wrong(run: OnePeer, out: Path) -> Iterator[str]:
    """What is not whole of a run that has ended."""
    try:
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
        records = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        (arm,) = results["arms"].values()
        numbers = [each["mean"] for each in arm["peers"][run.peer].values()]
        weights = RunFolder(out).load_best(run.peer)
        read_snapshot(run.shared / run.peer / FILE, run.peer, weights)
    except (OSError, ValueError, KeyError, InputError) as error:
        yield f"{type(error).__name__}: {error}"
        return
    if [json.loads(line)["epoch"] for line in records] != list(range(1, EPOCHS + 1)):
        yield f"{len(records)} records of {EPOCHS} epochs"
    if not numbers or not all(math.isfinite(number) for number in numbers):
        yield "metrics that are not finite"
    if not all(each.isfinite().all() for each in weights.values()):
        yield "weights that are not finite"
    for path in (*out.rglob(".*"), *(run.shared / run.peer).glob(".*")):
        yield f"{path.name} was left behind"


if __name__ == "__main__":
    raise SystemExit(main())
