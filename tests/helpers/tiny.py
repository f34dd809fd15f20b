"""Tiny cohorts and runs that go through the real recipes."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overriding import parsed

from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.trainer import Trainer
from peerlearn.engine.transports import leads_launch
from peerlearn.systems.registry import find_recipe

#: 100 digits, networks that train in milliseconds, BatchNorm and dropout among them.
TINY = [
    "data.train_size=100",
    "epochs=2",
    "batch_size=32",
    "precision=fp32",
    "threads=1",  # sums over threads differ in their last bit
    "peers.a={model: mlp, arguments: {hidden: [16], dropout: 0.2}}",
    "peers.b={model: cnn, arguments: {width: 0.25}}",
]


def tiny_config(*overrides: str, recipe: str = "dml", base: Sequence[str] = TINY) -> Any:
    """The resolved configuration of a tiny run."""
    found, given = find_recipe(recipe)
    return found.resolve(given, parsed(*base, *overrides))


def tiny_trainer(*overrides: str, folder: Path | None = None, **more: Any) -> Trainer:
    """A trainer that is ready to run."""
    found, _ = find_recipe(more.get("recipe", "dml"))
    config = tiny_config(*overrides, **more)
    trainer = found.build(config)
    if folder is not None:
        trainer.folder = RunFolder(folder)
        if leads_launch():  # of two processes that opened it one would sweep what the other writes
            trainer.folder.open(config.dump(), resume=True)
    return trainer


def weights(trainer: Trainer) -> dict[str, list[float]]:
    """Every peer's weights and statistics as plain numbers, exact."""
    return {
        f"{peer}.{name}": tensor.double().flatten().tolist()
        for peer, module in trainer.cohort.peers.items()
        for name, tensor in module.state_dict().items()
    }


class StopAfter:
    """Interrupts the run, as Ctrl-C does, after so many batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["done"] == self.batches:
            os.kill(os.getpid(), signal.SIGINT)
