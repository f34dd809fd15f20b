"""Our baselines beside those of cornac and torch-geometric, on one split with one evaluation.

    python benchmarks/music/against.py --python PATH/TO/VENV/bin/python      # one that has cornac

Others' models see the same training pairs, and what is measured of their scores is measured by us:
a difference is one of models. Without --python the rows of cornac are told as skipped.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import numpy as np
import torch

from benchmarks.music.arms import trainer_of
from benchmarks.speed.timing import environment
from peerlearn.files import write_text
from peerlearn.tasks.recommendation.data.dataset import RecommendationDataset
from peerlearn.tasks.recommendation.metrics.assessment import RankingAssessment
from peerlearn.tasks.recommendation.task import RecommendationTask, rows_of_users

HERE = Path(__file__).parent
OURS = ("ease", "item-knn", "bpr-mf", "vbpr", "lightgcn")
METRICS = ("recall@20", "ndcg@20", "recall@50", "ndcg@50")
AT_ONCE = 512


def main() -> None:
    """Train both sides, measure both, write the result file and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="an interpreter that has cornac")
    parser.add_argument("--out", type=Path, default=HERE / "against.json")
    parser.add_argument("--epochs", type=int, default=60, help="of the models that cornac trains")
    parser.add_argument("--smallest", action="store_true", help="a tiny world, one epoch")
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out.parent == HERE:
        raise SystemExit("--smallest makes no results for the page; give another --out")
    less: dict[str, Any] = {}
    if arguments.smallest:
        less = {"data": {"name": "synthetic", "val_share": 0}, "epochs": 1, "negatives": 16}
    lines: dict[str, Any] = {}
    for arm in OURS:
        changes = dict(less)
        if arguments.smallest and arm == "vbpr":
            changes |= {"peers.one.arguments.modality": "lyrics+audio", "peers.one.groups": {}}
        trainer = trainer_of(HERE / "lastfm.yaml", arm, changes)
        task = trainer.task
        assert isinstance(task, RecommendationTask)
        block = trainer.run().block["ensemble"]
        lines[arm] = {"peerlearn": {name: block[name] for name in METRICS}}
    epochs = 1 if arguments.smallest else arguments.epochs
    assert isinstance(task, RecommendationTask)
    lines["lightgcn"]["torch-geometric"] = _geometric(task.data, 1 if arguments.smallest else 100)
    for arm, found in _cornac(task.data, arguments.python, epochs).items():
        lines[arm]["cornac"] = found
    results = {"environment": environment(1), "against": lines}
    write_text(arguments.out, json.dumps(results, indent=1) + "\n")
    print(against_markdown(results))


def measured(data: RecommendationDataset, scores_UI: np.ndarray) -> dict[str, float]:
    """What somebody's scores of all items for all users are worth on test."""
    assessment = RankingAssessment()
    for x, wanted in rows_of_users(data.test, [data.train, data.val], data.users, AT_ONCE):
        assessment.add({"one": torch.from_numpy(scores_UI[x.users.numpy()])}, wanted)
    block: dict[str, float] = assessment.result()["ensemble"]
    return {name: block[name] for name in METRICS}


def _geometric(data: RecommendationDataset, epochs: int) -> dict[str, Any]:
    try:
        from benchmarks.music.geometric import Loop
    except ImportError as error:
        return {"skipped": str(error)}
    torch.manual_seed(0)
    size = {"embedding_dim": 64, "num_layers": 3}
    loop = Loop(data.train, data.val, data.users, data.items, 2048, **size)
    for _ in range(epochs):
        loop.epoch()
    return measured(data, loop.scores().numpy())


def _cornac(
    data: RecommendationDataset, python: str | None, epochs: int
) -> Mapping[str, dict[str, Any]]:
    names = [name for name in OURS if name != "lightgcn"]
    if python is None:
        return {name: {"skipped": "cornac is not installed"} for name in names}
    found: dict[str, dict[str, Any]] = {}
    x_IF = torch.cat([it.x_IF for it in data.modalities.values()], 1).numpy()
    with tempfile.TemporaryDirectory() as folder:
        log: dict[str, Any] = {
            "user": data.train.user.numpy(),
            "item": data.train.item.numpy(),
            "x": x_IF,
        }
        size: dict[str, Any] = {"users": np.array(data.users), "items": np.array(data.items)}
        np.savez(Path(folder) / "log.npz", **log, **size)
        script = HERE / "cornac_models.py"
        subprocess.run([python, str(script), folder, str(epochs)], check=True)
        for name in names:
            file = Path(folder) / f"{name}.npy"
            if file.exists():
                found[name] = measured(data, np.load(file))
            else:
                found[name] = {"skipped": file.with_suffix(".txt").read_text(encoding="utf-8")}
    return found


def against_markdown(results: Mapping[str, Any]) -> str:
    """A row a model and a library."""
    head = ["model", "library", "Recall@20 %", "NDCG@20 %", "Recall@50 %", "NDCG@50 %"]
    rows = [head, ["---"] * 2 + ["---:"] * len(METRICS)]
    for arm, by_library in results["against"].items():
        for library, found in by_library.items():
            skipped = found.get("skipped")
            cells = [f"{100 * found[m]:.2f}" for m in METRICS] if not skipped else ["–"] * 4
            rows.append([f"`{arm}`", library if not skipped else f"{library}: {skipped}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    main()
