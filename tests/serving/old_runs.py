"""Run folders that an older version wrote, kept in `tests/fixtures/runs`, and what it read in them.

    python tests/serving/old_runs.py    # write them anew, by the version on PYTHONPATH

`numbers.json` beside the folders holds what that version's `eval` and `predict` said of each
finished run, and where each cut run ended when it was not cut; where equal epochs were best on
validation, by the rule of today, which takes the last of them.
"""

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
MLP = {"model": "mlp", "arguments": {"hidden": [6]}}
CNN = {"model": "cnn", "arguments": {"width": 0.0625}}
EDGES = {
    "epochs": 2, "data.train_size": 100, "batch_size": 32, "lr": 0.2,
    "transfer.weight_schedule": "constant", "peers.a": MLP, "peers.b": MLP,
}  # fmt: skip
#: Runs with every kind of edge, of which there is a finished and a cut one.
KINDS: dict[str, dict[str, Any]] = {
    "predictions": {},
    "learned": {"transfer.weighting": "sample", "transfer.temperature": "learned"},
    "features": {"peers.a": CNN, "peers.b": CNN, "transfer": "features: hint"},
    "relations": {"transfer": {"knowledge": "relations", "memory": 24}},
}
#: One run of every task besides, with its recipe.
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "nodes": (
        "gml-node",
        {
            "epochs": 2,
            "peers.gcn.arguments": {"hidden": 4, "dropout": 0.5},
            "peers.gat.arguments": {"hidden": 2, "heads": 2},
            "peers.sage.arguments": {"hidden": 4, "dropout": 0.5},
        },
    ),
    "graphs": (
        "gml-graph",
        {
            "epochs": 2,
            "data.train_size": 60,
            "peers.gcn.arguments": {"hidden": 4, "layers": 2, "readout": "sum"},
            "peers.gin.arguments": {"hidden": 4, "layers": 2},
            "peers.sage.arguments": {"hidden": 4, "layers": 2, "readout": "sum"},
        },
    ),
    "masks": (
        "styles-segment",
        {
            "epochs": 2,
            "data.train_size": 16,
            "lr": 0.02,
            "peers.teacher.arguments": {"width": 3, "levels": 1},
            "peers.s1.arguments.levels": 1,
            "peers.s2.arguments.levels": 1,
        },
    ),
    "discovery": (
        "discovery",
        {
            "epochs": 5,
            "data.train_size": 128,
            "batch_size": 16,
            "stages.rotation.epochs": 1,
            "stages.supervised.epochs": 5,
            "transfer.memory": 24,
            "peers.global.arguments.width": 0.125,
        },
    ),
}
#: What runs read that they were not trained on: the name of a file in `inputs`.
INPUTS = {"nodes": "nodes.npz", "graphs": "graphs.npz", "masks": "scenes.npz"}
#: Numbers of `results.json` that depend on the machine and the moment.
MEASURED = ("cost", "sizes")


def results_of(results: dict[str, Any]) -> dict[str, Any]:
    """What the results of a run say of its one arm."""
    (block,) = results["arms"].values()
    return {key: value for key, value in block.items() if key not in MEASURED}


def evaluated(run: Path, scratch: Path) -> dict[str, Any]:
    """What `peerlearn eval` measures."""
    command("eval", run, "--out", scratch / "measured.json")
    return results_of(json.loads((scratch / "measured.json").read_text(encoding="utf-8")))


def predicted(run: Path, name: str, scratch: Path) -> list[Any]:
    """What `peerlearn predict` writes about a few rows, by the ensemble.

    The lines of its table; of masks, the mean probability of every class in every image.
    """
    inputs = RUNS / "inputs" / INPUTS.get(name, "rows.npz")
    words = ["predict", run, inputs, "--peer", "ensemble", "--probabilities"]
    if name == "masks":
        command(*words, "--out", scratch / "masks")
        files = sorted((scratch / "masks").glob("*.npz"))
        return [np.load(file)["probabilities"].mean((1, 2)).tolist() for file in files]
    command(*words, "--out", scratch / "rows.csv")
    with (scratch / "rows.csv").open(encoding="utf-8", newline="") as lines:
        return [_numbers(row) for row in csv.DictReader(lines)]


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    """The probabilities of a line as numbers, without the place of its input."""
    text = ("label", "row")
    return {k: v if k in text else float(v) for k, v in row.items() if k != "input"}


def command(*words: str | Path) -> None:
    """Call a verb of the command line in this process."""
    from peerlearn.cli import app

    app([str(word) for word in words], standalone_mode=False)


def main() -> None:
    """Write every run and what is read in it."""
    from peerlearn import recipe

    runs, scratch = RUNS, RUNS / "scratch"
    _write_inputs(runs / "inputs")
    numbers: dict[str, Any] = {}
    common = {"threads": 1, "precision": "fp32"}
    made = {name: ("dml", EDGES | changes) for name, changes in KINDS.items()}
    for name, (system, changes) in (made | TASKS).items():
        bound = recipe(system, common | changes)
        bound.run(out=runs / name)
        _forget_machine(runs / name)
        shutil.rmtree(runs / name / "checkpoints" / "last")
        scratch.mkdir()
        numbers[name] = {
            "evaluated": evaluated(runs / name, scratch),
            "predicted": predicted(runs / name, name, scratch),
        }
        shutil.rmtree(scratch)
        if name in KINDS:
            _cut(bound, runs / f"{name}-cut")
            results = json.loads((runs / name / "results.json").read_text(encoding="utf-8"))
            numbers[f"{name}-cut"] = results_of(results)
    (runs / "numbers.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")


def _cut(bound: Any, folder: Path) -> None:
    """Begin a run and interrupt it in its second epoch."""
    from peerlearn.systems.running import run_recipe

    steps = 0

    def interrupt(event: dict[str, Any]) -> None:
        nonlocal steps
        steps += event["event"] == "step"
        if steps == 5:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        run_recipe(bound.system, bound.config, folder, observe=interrupt)
    except KeyboardInterrupt:
        _forget_machine(folder)
        return
    raise SystemExit(f"{folder} was not cut")


def _forget_machine(run: Path) -> None:
    env = json.loads((run / "env.json").read_text(encoding="utf-8"))
    env = {key: env[key] for key in ("peerlearn", "python", "torch", "numpy")}
    (run / "env.json").write_text(json.dumps(env) + "\n", encoding="utf-8")


def _write_inputs(folder: Path) -> None:
    from sklearn.datasets import load_digits

    folder.mkdir(parents=True)
    images = load_digits().images
    draw = np.random.default_rng(0)
    np.savez_compressed(folder / "rows.npz", x=(15 * images[:6]).astype("uint8")[:, None])
    scenes = draw.integers(0, 255, (3, 48, 48)).astype("uint8")
    np.savez_compressed(folder / "scenes.npz", x=scenes[:, None])
    ring = np.stack([np.arange(6), np.roll(np.arange(6), 1)])
    pixels = images[:6].reshape(6, 64).astype("float32") / 16
    np.savez_compressed(folder / "nodes.npz", x=pixels, edge_index=ring)
    places = draw.random((6, 3)).astype("float32")
    two = np.concatenate([ring[:, 1:3], ring[:, 4:]], 1)
    np.savez_compressed(folder / "graphs.npz", x=places, edge_index=two, ptr=np.array([0, 3, 6]))


if __name__ == "__main__":
    main()
