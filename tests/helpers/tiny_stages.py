"""Tiny trainings of two stages, on a trunk or not, that can be cut short and compared."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny import tiny_trainer, weights
from torch import nn

from peerlearn.engine.stage import Procedure, TrainingStage
from peerlearn.engine.trainer import Trainer
from peerlearn.randomness import seeded_rng
from peerlearn.transfer.graph import TransferGraph

STEPS = 3  # of an epoch: 100 rows in batches of 32, the short last one left out
EPOCHS = 2  # of either stage


class Killed(Exception):
    """The process has died: nothing more is saved."""


def two_stages(
    *overrides: str, folder: Path | None = None, begin: Any = None, **second: Any
) -> Trainer:
    """Alone first, then together; `begin` is done between them, `second` goes to the second."""
    options = ["evaluation.select=last", "epochs=2", *overrides]
    trainer = tiny_trainer(*options, folder=folder)
    loader, names = trainer.stages[0].loader, trainer.cohort.names
    alone = TrainingStage("alone", EPOCHS, loader, TransferGraph("none", names))
    together = TrainingStage("together", EPOCHS, loader, TransferGraph("predictions: kl", names))
    between = [] if begin is None else [Procedure("begin", begin, learners=())]
    trainer.stages = [alone, *between, replace(together, **second)]
    return trainer


def on_a_trunk(trainer: Trainer) -> Trainer:
    """The same training with a trunk in front of its peers, normalisation in it."""
    with seeded_rng(0, "trunk"):
        trainer.cohort.trunk = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1))
    return trainer


def state(trainer: Trainer) -> dict[str, list[float]]:
    """All weights and statistics: of peers, trunk and objectives, as plain numbers."""
    parts = {"trunk": trainer.cohort.trunk, "objective": trainer.cohort.objective_modules}
    for stage in trainer.stages:
        own = getattr(stage, "objectives", None) or {}
        parts |= {f"{stage.name}.{name}": o for name, o in own.items() if isinstance(o, nn.Module)}
    more = {
        f"{which}.{name}": tensor.double().flatten().tolist()
        for which, module in parts.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
    return weights(trainer) | more


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what differs from run to run."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def kill_after(steps: int, save: bool = False) -> Callable[[dict[str, Any]], None]:
    """An observer that ends a run after so many steps, counted over all stages.

    Args:
        steps: a multiple of `STEPS` ends it after the epoch, once that is saved.
        save: as Ctrl-C does, so that the step itself is saved.
    """
    done = 0

    def observe(event: dict[str, Any]) -> None:
        nonlocal done
        done += event["event"] == "step"
        if done == steps and event["event"] == ("epoch" if steps % STEPS == 0 else "step"):
            if not save:
                raise Killed
            os.kill(os.getpid(), signal.SIGINT)

    return observe
