"""Peak memory of a training on a large graph, each in a process of its own.

As a script it is that process: `python memory.py GRAPH.npz '{"peers": …}' THREADS` runs recipe
`gml-node` on a file as a user would, reading included, and prints what it took.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EDGES = 1_000_000
EPOCHS = 4
"""Enough that the edges of the recipe, which open late, are open in the last ones."""

LIMIT_GB = 6.0
FOUR_GCNS = {"peers": {"gat": None, "sage": None} | {f"gcn{n}": "gcn" for n in (1, 2, 3)}}
TRAININGS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("gml-node: GCN + GAT + SAGE", EDGES, {}),
    ("four GCNs", EDGES, FOUR_GCNS),
    ("gml-node, a million undirected edges", 2 * EDGES, {}),
)


SMALLEST: tuple[tuple[str, int, dict[str, Any]], ...] = (("gml-node", 1_000, {}),)


def memory_lines(threads: int, smallest: bool = False) -> list[dict[str, Any]]:
    """Peak resident memory in GB of trainings with adaptive weighting and validation."""
    trainings = SMALLEST if smallest else TRAININGS
    return [_measured(*training, threads) for training in trainings]


def _measured(name: str, edges: int, changes: dict[str, Any], threads: int) -> dict[str, Any]:
    import numpy as np

    from benchmarks.graph.graphs import NODES, random_arrays

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "random.npz"
        arrays: dict[str, Any] = random_arrays(edges, min(NODES, edges // 10))
        np.savez(file, **arrays)
        command = [sys.executable, __file__, str(file), json.dumps(changes), str(threads)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    limit = {"target": f"<= {LIMIT_GB:g} GB", "met": taken["peak_gb"] <= LIMIT_GB}
    return {"name": name, "edges": edges} | taken | limit


def peak_gb() -> float:
    """Peak resident memory of this process.

    On Linux from its own status: what `getrusage` gives survives `exec`, so that a small process
    reports the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _train(file: str, changes: str, threads: str) -> dict[str, float]:
    import peerlearn

    given = {"data": file, "epochs": EPOCHS, "threads": int(threads)} | json.loads(changes)
    (arm,) = peerlearn.recipe("gml-node", given).run()["arms"].values()
    return {"peak_gb": peak_gb(), "epoch_s": arm["cost"]["train_s"]["mean"] / EPOCHS}


if __name__ == "__main__":
    print(json.dumps(_train(*sys.argv[1:])))
