"""Tiny runs of category discovery that go through the real recipe."""

import json
from pathlib import Path
from typing import Any

from overriding import parsed
from sklearn.datasets import load_digits

from peerlearn.systems.recipe import Recipe
from peerlearn.systems.registry import find_recipe

#: 128 digits, half of them unlabelled, and a network that trains in milliseconds.
TINY = [
    "data.train_size=128", "batch_size=32", "epochs=1", "stages.rotation.epochs=1",
    "stages.supervised.epochs=1", "precision=fp32", "threads=1", "transfer.memory=64",
    "objective.parts.size=64", "peers.global.arguments.width=0.25", "uno.hidden=16",
    "uno.projected=8",
]  # fmt: skip
#: Of one branch.
ALONE = ["peers.local=null", "transfer=none"]
#: Not of the run, but of the machine and the moment.
MEASURED = ("cost", "sizes")


def tiny_recipe() -> tuple[Recipe, dict[str, Any]]:
    return find_recipe("discovery")


def tiny_config(*overrides: str) -> Any:
    """The resolved configuration of a tiny run; `transfer.memory` only where there are edges."""
    recipe, given = tiny_recipe()
    assignments = parsed(*TINY, *overrides)
    if assignments.get("transfer") == "none":
        assignments.pop("transfer.memory", None)
    return recipe.resolve(given, assignments)


def tiny_discovery(*overrides: str) -> Any:
    """A trainer that is ready to run."""
    return tiny_recipe()[0].build(tiny_config(*overrides))


def numbers(module: Any) -> list[list[float]]:
    """Weights and statistics of a network, exact."""
    return [t.double().flatten().tolist() for t in module.state_dict().values()]


def weights(trainer: Any) -> dict[str, list[list[float]]]:
    """Of the trunk and of every branch."""
    cohort = trainer.cohort
    parts = {"trunk": cohort.trunk} | dict(cohort.peers.items())
    return {name: numbers(part) for name, part in parts.items()}


def reported(results: dict[str, Any]) -> dict[str, Any]:
    """What a run says of its one arm."""
    (block,) = results["arms"].values()
    return {key: value for key, value in block.items() if key not in MEASURED}


def records(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, times aside."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in found]


def digit_arrays() -> dict[str, Any]:
    """300 digits as the arrays of an `.npz`."""
    digits = load_digits()
    x, y = (digits.images * 15).astype("uint8"), digits.target
    return {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:300], "y_test": y[200:300]}
