"""Kill runs at random moments, resume them, and compare what comes out with runs left in peace.

    python benchmarks/faults/kills.py --kills 220 --seed 0

Every family is a small run of a recipe that goes through what resuming must not lose: optimisers,
averaged weights, memories, learned temperatures, stages, shared stages, a comparison. It is run
once in peace. Then it is begun again and again, killed by SIGKILL and resumed, several times over,
until it is done. Half of the moments are spread evenly over the time of the whole run, from reading
data to writing results; the other half are when a file is being written, as its temporary file
shows. `results.json`, `metrics.jsonl` (times aside), `data.json`, `rows.npz` and the selected
weights must be equal bit for bit, and a resumed run leaves no half-written file and no lock.

Each run is a process forked from this one, which has imported what runs need: no kill costs a
start-up.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np
import torch
from safetensors import safe_open

import peerlearn
from benchmarks.speed.timing import environment
from peerlearn.locks import LOCK, is_lock

OUT = Path(__file__).with_name("kills.json")
LAUNCHES = 5
"""Kills of one run at most, before it may end."""
COMMON: dict[str, Any] = {"threads": 1, "precision": "fp32", "checkpoint_minutes": 0.001}
OPEN = {"transfer.weight_schedule": "constant"}
MLP = {"model": "mlp", "arguments": {"hidden": [16], "dropout": 0.2}}
CNN = {"model": "cnn", "arguments": {"width": 0.25}}
PAIR: dict[str, Any] = {
    "data.train_size": 200, "batch_size": 32, "epochs": 6, "peers.a": MLP, "peers.b": CNN,
}  # fmt: skip
DRAWN = CNN | {"bayesian": {"test_samples": 2}}
BAYESIAN = PAIR | {"stages.deterministic.epochs": 3, "peers.a": DRAWN, "peers.b": DRAWN}
NODES = {
    "epochs": 12,
    "peers.gcn.arguments": {"hidden": 8, "dropout": 0.5},
    "peers.gat.arguments": {"hidden": 2, "heads": 2},
    "peers.sage.arguments": {"hidden": 8, "dropout": 0.5},
}
DISCOVERY = {
    "data.train_size": 128,
    "batch_size": 32,
    "epochs": 3,
    "stages.rotation.epochs": 2,
    "stages.supervised.epochs": 2,
    "transfer.memory": 64,
    "objective.parts.size": 64,
    "peers.global.arguments.width": 0.25,
}


class Runs(Protocol):
    """Trains into a folder, from where it was left."""

    def run(self, out: Path) -> None: ...


@dataclass(frozen=True)
class Family:
    """A recipe with its changes; `arms` makes a comparison of it."""

    recipe: str
    changes: Mapping[str, Any]
    arms: tuple[str, ...] = ()

    def run(self, out: Path) -> None:
        """Train into `out`, from where it was left."""
        recipe = peerlearn.recipe(self.recipe, COMMON | dict(self.changes))
        if self.arms:
            recipe.compare(out, arms=self.arms, seeds=[0, 1], resume=True)
        else:
            recipe.run(seed=0, out=out, resume=(out / "config.yaml").exists())


FAMILIES = {
    "dml": Family("dml", PAIR),
    "dml, averaged weights": Family(
        "dml", PAIR | OPEN | {"ema": 0.8, "clip_norm": 1, "optimiser": "adamw", "lr": 0.01}
    ),
    "dml, memories": Family(
        "dml", PAIR | OPEN | {"transfer.knowledge": "relations", "transfer.memory": 50}
    ),
    "dml, learned": Family(
        "dml", PAIR | OPEN | {"transfer.temperature": "learned", "transfer.weighting": "sample"}
    ),
    "dml, averaged teachers": Family(
        "dml",
        PAIR
        | OPEN
        | {
            "transfer.from": "self",
            "transfer.teacher_ema": 0.9,
            "transfer.teacher_temperature": 0.5,
            "evaluation.calibrate": "temperature",
        },
    ),
    "dml, mean of last epochs": Family(
        "dml", PAIR | {"evaluation.select": "mean_last", "evaluation.last_epochs": 4}
    ),
    "dml, early stopping": Family(
        "dml", PAIR | {"epochs": 12, "lr": 0.3, "evaluation.patience": 3}
    ),
    "renyi": Family(
        "renyi", PAIR | OPEN | {"transfer.alpha_schedule": {"kind": "linear", "start": 0.5}}
    ),
    "bayesian": Family("bayesian", BAYESIAN),
    "gml-node": Family("gml-node", NODES),
    "gml-graph": Family(
        "gml-graph",
        {
            "data.train_size": 60,
            "batch_size": 16,
            "epochs": 4,
            "peers.gcn.arguments": {"hidden": 8, "layers": 2, "dropout": 0.2, "readout": "sum"},
            "peers.gin.arguments": {"hidden": 8, "layers": 2, "dropout": 0.2},
            "peers.sage.arguments": {"hidden": 8, "layers": 2, "readout": "sum"},
        },
    ),
    "styles-classify": Family(
        "styles-classify",
        {
            "data.train_size": 96,
            "batch_size": 32,
            "epochs": 3,
            "stages.teacher.epochs": 2,
            "peers.teacher.arguments.width": 8,
        },
    ),
    "styles-segment": Family(
        "styles-segment",
        {
            "data.train_size": 16,
            "batch_size": 8,
            "epochs": 3,
            "peers.teacher.arguments": {"width": 6, "levels": 1},
            "peers.s1.arguments.levels": 1,
            "peers.s2.arguments.levels": 1,
        },
    ),
    "discovery": Family("discovery", DISCOVERY),
    "discovery, averaged weights": Family("discovery", DISCOVERY | {"ema": 0.5}),
    "compare dml": Family("dml", PAIR | {"epochs": 3}, ("mutual", "independent")),
    "compare discovery, shared stages": Family("discovery", DISCOVERY, ("dual", "independent")),
}
SMALLEST = ("dml",)


@dataclass
class Count:
    """What happened to the runs of a family."""

    seconds: float  # of the run in peace
    kills: int = 0
    while_writing: dict[str, int] = field(default_factory=dict)  # kills by the file
    runs: int = 0
    differences: list[str] = field(default_factory=list)


def main() -> int:
    """Kill, compare, write the result file; 1 where something differed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=220, help="of all families together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, help="families")
    parser.add_argument("--smallest", action="store_true", help="two kills of one family")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out == OUT:
        parser.error("--smallest: give another --out")
    names = arguments.only or (SMALLEST if arguments.smallest else tuple(FAMILIES))
    kills = 2 if arguments.smallest else -(-arguments.kills // len(names))
    torch.set_num_threads(1)
    began, counts = time.monotonic(), {}
    for name in names:
        draw = random.Random(f"{arguments.seed} {name}")
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            counts[name] = killed(FAMILIES[name], Path(folder), kills, draw)
        print(name, json.dumps(vars(counts[name])), flush=True)
    found = {
        "command": f"python benchmarks/faults/kills.py --kills {kills * len(names)} "
        f"--seed {arguments.seed}",
        "environment": environment(1),
        "seconds": round(time.monotonic() - began, 1),
        "seed": arguments.seed,
        "kills": sum(count.kills for count in counts.values()),
        "kills_while_writing": sum(sum(c.while_writing.values()) for c in counts.values()),
        "runs": sum(count.runs for count in counts.values()),
        "runs_that_differ": sum(len(count.differences) for count in counts.values()),
        "families": {name: vars(count) for name, count in counts.items()},
    }
    text = json.dumps(found, indent=1, allow_nan=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    return 1 if found["runs_that_differ"] else 0


def killed(family: Family, folder: Path, kills: int, draw: random.Random) -> Count:
    """Runs of a family, until they were killed so often and have all been resumed to the end."""
    wait(launch(family, folder / "first"))
    import_like(folder / "first.modules")
    whole, began = folder / "whole", time.monotonic()
    wait(launch(family, whole))
    count, expected = Count(round(time.monotonic() - began, 2)), dict(outcome(whole))
    count.differences += [f"first: {what}" for what in different(folder / "first", expected)]
    while count.kills < kills:
        out = folder / f"run-{count.runs}"
        for _ in range(min(LAUNCHES, kills - count.kills)):
            writing = draw.random() < 0.5
            moment = draw.uniform(0, 1.05 * count.seconds)
            process = launch(family, out)
            found = at_write(process, out, draw) if writing else after(process, moment)
            if found is None:
                break  # it was done before
            count.kills += 1
            if found:
                count.while_writing[found] = count.while_writing.get(found, 0) + 1
        else:
            wait(launch(family, out))
        count.runs += 1
        count.differences += [f"{out.name}: {what}" for what in different(out, expected)]
        shutil.rmtree(out)
    return count


# Processes ----------------------------------------------------------------------------------------


def launch(family: Runs, out: Path) -> int:
    """Run it in a fork of this process; its number."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        family.run(out)
        if out.name == "first":
            out.with_suffix(".modules").write_text("\n".join(sys.modules), encoding="utf-8")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def import_like(modules: Path) -> None:
    """Import what a run has imported, so that the next ones need not."""
    for name in modules.read_text(encoding="utf-8").splitlines():
        with suppress(Exception):  # some are made by others, or only parts of them
            importlib.import_module(name)


def wait(process: int) -> None:
    """Until a process has ended well. Raises RuntimeError where it did not."""
    ended_well(os.waitpid(process, 0)[1])


def ended_well(status: int) -> None:
    """Raises RuntimeError: a process ended otherwise, with what it said on stderr."""
    if status:
        raise RuntimeError(f"a run that was to be resumed failed with status {status}")


def after(process: int, seconds: float) -> str | None:
    """Kill a process after some time; "" where that was done, None where it had ended."""
    return _kill_when(process, _elapsed(seconds))


def at_write(process: int, folder: Path, draw: random.Random) -> str | None:
    """Kill a process while it writes some file; its name, or None where it had ended."""
    skip = draw.randrange(8)
    return _kill_when(process, _writing(folder, skip))


def _kill_when(process: int, signs: Iterator[str | None]) -> str | None:
    for sign in signs:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            ended_well(status)
            return None
        if sign is not None:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            if not os.WIFSIGNALED(status):  # it ended in between
                ended_well(status)
                return None
            return sign
    raise AssertionError("signs do not end")


def _elapsed(seconds: float) -> Iterator[str | None]:
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        time.sleep(min(max(left, 0), 0.02))
        yield "" if left <= 0 else None


def _writing(folder: Path, skip: int) -> Iterator[str | None]:
    """The file that is being written, once so many others have been."""
    seen: set[Path] = set()
    while True:
        for path in folder.rglob(".*.*"):
            if path not in seen and not is_lock(path):
                seen.add(path)
                if len(seen) > skip:
                    yield path.name[1:].rpartition(".")[0]
        yield None
        time.sleep(0.0005)


# What came out ------------------------------------------------------------------------------------


def outcome(out: Path) -> Iterator[tuple[str, Any]]:
    """What must be equal, by file."""
    for path in sorted(out.rglob("*")):
        name, text = str(path.relative_to(out)), None
        if path.name in ("results.json", "data.json"):
            text = _timeless(json.loads(path.read_text(encoding="utf-8")))
        elif path.name == "metrics.jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            text = [_timeless(json.loads(line)) for line in lines]
        elif path.name == "rows.npz":
            with np.load(path) as stored:
                text = {key: (stored[key].shape, stored[key].tobytes()) for key in stored.files}
        elif path.parent.name == "best" and path.suffix == ".safetensors":
            with safe_open(path, "pt") as stored:
                weights = {key: _bits(stored.get_tensor(key)) for key in stored.keys()}  # noqa: SIM118
                text = [stored.metadata(), weights]
        elif path.name == LOCK:
            text = "still locked"
        elif path.is_file() and path.name.startswith(".") and not is_lock(path):
            text = "left behind"
        if text is not None:
            yield name, text


def different(out: Path, expected: Mapping[str, Any]) -> Iterator[str]:
    """Names of files that are not as expected."""
    found = dict(outcome(out))
    for name in sorted(found.keys() | expected.keys()):
        if name in expected and found.get(name) != expected[name]:
            yield f"{name} differs{_where(expected[name], found.get(name))}"
        elif name not in expected and not ((out / "cells").is_dir() and _is_shared(name)):
            yield f"{name} was not expected"


def _where(one: Any, other: Any) -> str:
    """The way to the first difference of two nested values."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((f".{k}{_where(one[k], other[k])}" for k in one if one[k] != other[k]), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        both = enumerate(zip(one, other, strict=True))
        return next((f"[{n}]{_where(a, b)}" for n, (a, b) in both if a != b), "")
    return "" if isinstance(one, bytes) else f": {one!r} became {other!r}"


def _is_shared(name: str) -> bool:
    """Of a comparison, whose processes share these: nobody can tell whose a temporary file is."""
    return Path(name).name.startswith(".") and Path(name).parts[0] != "cells"


def _timeless(value: Any) -> Any:
    """Without what differs from run to run."""
    times = ("seconds", "train_s", "peak_rss_mb", "latency_ms")
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in times}
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    return value


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
