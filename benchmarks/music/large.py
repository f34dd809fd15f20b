"""Time and peak memory of ranking and of training with many items, each in a process of its own.

As a script it is that process: `python large.py rank|train FILE.npz THREADS` reads a file as a user
would and prints what it took.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

ONE: dict[str, Any] = {
    "peers": {"one": {"model": "branch"}},
    "transfer": "none",
    "objective": {"emotion": 0},
    "negatives": 4096,
    "batch_size": 256,
}
"""LightGCN with friends: d 64, 3 layers."""
ROWS = 128
"""Users that are ranked for at once."""


class Load(NamedTuple):
    """What is done, at which size and within which memory."""

    name: str
    what: str
    users: int
    items: int
    pairs: int
    tested: int
    limit_gb: float


LOADS = (
    Load("full ranking", "rank", 20_000, 300_000, 1_000_000, 20_000, 4.0),
    Load("training, an epoch", "train", 25_000, 328_821, 1_500_000, 256, 8.0),
)
SMALLEST = (
    Load("full ranking", "rank", 50, 200, 1_000, 50, 4.0),
    Load("training, an epoch", "train", 50, 200, 1_000, 20, 8.0),
)


def large_lines(threads: int, smallest: bool = False) -> list[dict[str, Any]]:
    """Of every load: seconds, peak resident memory in GB, and whether it kept to its limit."""
    return [_measured(load, threads) for load in (SMALLEST if smallest else LOADS)]


def _measured(load: Load, threads: int) -> dict[str, Any]:
    from benchmarks.music.worlds import saved

    with tempfile.TemporaryDirectory() as folder:
        file = saved(folder, load.users, load.items, load.pairs, load.tested)
        command = [sys.executable, __file__, load.what, file, str(threads)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    limit = {"target": f"<= {load.limit_gb:g} GB", "met": taken["peak_gb"] <= load.limit_gb}
    return {"name": load.name, "users": load.users, "items": load.items} | taken | limit


def _run(what: str, file: str, threads: str) -> dict[str, Any]:
    from benchmarks.graph.memory import peak_gb
    from peerlearn.systems.registry import find_recipe
    from peerlearn.tasks.recommendation.task import RecommendationTask

    recipe, given = find_recipe("music")
    given = dict(given)
    evaluation = {"select": "last", "metric": "recall@20", "batch_size": ROWS}
    words = ONE | {"arms": {}, "data": {"name": file, "val_share": 0}, "epochs": 2}
    config = recipe.resolve(given | words, {"threads": int(threads), "evaluation": evaluation})
    trainer = recipe.build(config)
    assert isinstance(trainer.task, RecommendationTask)
    pairs = len(trainer.task.data.train)
    began = time.perf_counter()
    if what == "rank":
        with trainer.precision.autocast():
            trainer.task.evaluate(trainer.forward, "report")
        seconds = time.perf_counter() - began
    else:
        seconds = trainer.run().block["cost"]["train_s"] / config.epochs
    return {"pairs": pairs, "seconds": seconds, "peak_gb": peak_gb()}


if __name__ == "__main__":
    print(json.dumps(_run(*sys.argv[1:])))
