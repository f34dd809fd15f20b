"""What it costs to learn from peers as they were some steps ago.

    python benchmarks/speed/staleness.py --seeds 3

A cohort of two trains on digits in one process, where peers meet at every step, and in two that
publish snapshots every so many steps; and without edges. Every peer is measured on the test rows by
the process that trains it. Both processes of a cohort run at once, at whatever pace the machine
gives them, as they would elsewhere.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch

import peerlearn
from benchmarks.faults.kills import CNN, MLP, import_like, launch, wait
from benchmarks.speed.timing import environment

OUT = Path(__file__).with_name("staleness.json")
EVERY = (1, 20, 200)
PEERS = {"a": MLP, "b": CNN}
METRICS = ("accuracy", "nll")


@dataclass(frozen=True)
class Way:
    """A training of the cohort, or of one of its peers."""

    seed: int
    epochs: int
    arm: str = "mutual"
    peer: str | None = None  # that this process trains; None for all
    every: int = 1

    def run(self, out: Path) -> None:
        """Train into `out`."""
        changes: dict[str, Any] = {
            "threads": 1, "precision": "fp32", "data.train_size": 500, "batch_size": 32,
            "epochs": self.epochs, "evaluation.every": 5, "peers": PEERS, "arm": self.arm,
        }  # fmt: skip
        if self.peer is not None:
            shared = str(out.parent / "shared")
            changes["transport"] = {
                "kind": "snapshot", "folder": shared, "peer": self.peer, "every": self.every
            }  # fmt: skip
        peerlearn.recipe("dml", changes).run(seed=self.seed, out=out)


def main() -> None:
    """Train, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--smallest", action="store_true", help="one seed, one epoch")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out == OUT:
        parser.error("--smallest: give another --out")
    seeds, epochs = (1, 1) if arguments.smallest else (arguments.seeds, arguments.epochs)
    torch.set_num_threads(1)
    began, measured = environment(1), dict[str, list[dict[str, float]]]()
    with tempfile.TemporaryDirectory(prefix="staleness-") as folder:
        place = Path(folder)
        wait(launch(Way(0, 1), place / "first"))
        import_like(place / "first.modules")
        for seed in range(seeds):
            for every in (5,) if arguments.smallest else EVERY:
                steps = "step" if every == 1 else "steps"
                name, at = f"snapshots every {every} {steps}", place / f"{every}-{seed}"
                at.mkdir()
                ways = {peer: Way(seed, epochs, "mutual", peer, every) for peer in PEERS}
                measured.setdefault(name, []).append(_trained(ways, at))
            for name, arm in (("at every step", "mutual"), ("independent", "independent")):
                at = place / f"{arm}-{seed}"
                at.mkdir()
                measured.setdefault(name, []).append(_trained({"": Way(seed, epochs, arm)}, at))
    found: dict[str, Any] = {
        "command": f"python benchmarks/speed/staleness.py --seeds {seeds} --epochs {epochs}",
        "environment": began,
        "seeds": list(range(seeds)),
        "epochs": epochs,
        "ways": {name: _summed(runs) for name, runs in measured.items()},
    }
    arguments.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for name, way in found["ways"].items():
        told = (f"{metric} {way[metric]['mean']:.4f}" for metric in METRICS)
        print(f"{name}: {', '.join(told)}")


def staleness_markdown(found: dict[str, Any]) -> str:
    """What every way of learning from each other comes to."""
    head = "| peers learn from each other | accuracy % | NLL |\n| --- | ---: | ---: |"
    rows = []
    for name, way in found["ways"].items():
        cells = []
        for metric, scale, digits in (("accuracy", 100, 2), ("nll", 1, 4)):
            values = [scale * value for value in way[metric]["values"]]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    said = (
        f"Mean of two peers on 500 digits, {found['epochs']} epochs of 16 steps; mean and standard "
        f"deviation over {len(found['seeds'])} seeds."
    )
    return "\n".join([head, *rows, "", said, ""])


def _trained(ways: dict[str, Way], place: Path) -> dict[str, float]:
    """Metrics of all peers, mean over them, of processes that run at once."""
    processes = [launch(way, place / (name or "all")) for name, way in ways.items()]
    for process in processes:
        wait(process)
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for name in ways:
        text = (place / (name or "all") / "results.json").read_text(encoding="utf-8")
        (arm,) = json.loads(text)["arms"].values()
        for peer in PEERS if not name else (name,):
            for metric in METRICS:
                found[metric].append(arm["peers"][peer][metric]["mean"])
    return {metric: statistics.mean(values) for metric, values in found.items()}


def _summed(runs: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean over seeds, with the values."""
    values = {metric: [run[metric] for run in runs] for metric in METRICS}
    return {name: {"mean": statistics.mean(each), "values": each} for name, each in values.items()}


if __name__ == "__main__":
    main()
