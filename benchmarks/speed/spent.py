"""Where the processor time of a training goes: a clock that every part of a step takes in turn."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.engine import trainer as trainer_module
from peerlearn.engine.checkpoint import Checkpoints
from peerlearn.engine.monitor import EpochMonitor
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.stage_run import StageRun
from peerlearn.engine.trainer import Trainer
from peerlearn.engine.updates import PeerUpdate

NETWORKS = ("forward", "backward", "optimiser")
"""Parts that plain training of the same networks has too; the backward pass is also the losses'."""
VALIDATION, OTHER, OUTSIDE = "validation", "everything else", "outside epochs"
PARTS = (*NETWORKS, "losses", "memories", "batches", "monitor", "checks", VALIDATION, "saving")

#: What is called for a part: where it is looked up, by what name.
CALLS: dict[str, list[tuple[Any, str]]] = {
    "backward": [(torch.autograd, "backward")],
    "optimiser": [(PeerUpdate, "step"), (PeerUpdate, "zero")],
    "losses": [(Cohort, "losses")],
    "memories": [(Cohort, "remember"), (Cohort, "averaged")],
    "monitor": [(EpochMonitor, "add"), (EpochMonitor, "means")],
    "checks": [(StageRun, "check_weights")],
    VALIDATION: [(Trainer, "_measure")],
    "saving": [(Checkpoints, "save"), (RunFolder, "log")],
    OTHER: [(Trainer, "_run_epoch")],
}


class Spent:
    """Seconds of this process' CPU by part; the innermost part that is open takes them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = [OUTSIDE]
        self._since = time.process_time()

    def begin(self, part: str) -> None:
        """What comes is of `part`, but within a validation of that, and outside epochs of none."""
        self._charge()
        if VALIDATION in self._open:
            part = VALIDATION
        elif OTHER not in (*self._open, part):
            part = OUTSIDE
        self._open.append(part)

    def end(self) -> None:
        """The part that was begun last is over."""
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def shares(self) -> dict[str, float]:
        """Fractions of all time, the largest first."""
        self._charge()
        total = sum(self.seconds.values())
        ordered = sorted(self.seconds.items(), key=lambda item: -item[1])
        return {part: seconds / total for part, seconds in ordered}

    def of(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, which takes its time for a part."""

        @wraps(call)
        def taken(*arguments: Any, **named: Any) -> Any:
            self.begin(part)
            try:
                return call(*arguments, **named)
            finally:
                self.end()

        return taken


@contextmanager
def watched(trainer: Trainer) -> Iterator[Spent]:
    """While it is open, the parts of what the trainer does are told apart."""
    spent = Spent()
    with ExitStack() as changed:
        for part, calls in CALLS.items():
            for owner, name in calls:
                call = spent.of(part, getattr(owner, name))
                changed.enter_context(patch.object(owner, name, call))
        batches = spent_on(trainer_module.chunks, spent)
        changed.enter_context(patch.object(trainer_module, "chunks", batches))
        for network in networks_of(trainer):
            for hook in (
                network.register_forward_pre_hook(lambda *_: spent.begin("forward")),
                network.register_forward_hook(lambda *_: spent.end()),
            ):
                changed.callback(hook.remove)
        yield spent


def networks_of(trainer: Trainer) -> list[nn.Module]:
    """The peers, and the trunk if there is one."""
    trunk = trainer.cohort.trunk
    return [*trainer.cohort.peers.values(), *([trunk] if trunk is not None else [])]


def spent_on(make: Callable[..., Iterator[Any]], spent: Spent) -> Callable[..., Iterator[Any]]:
    """The same iterators, of which to wait for the next item is of the batches."""

    def made(*arguments: Any) -> Iterator[Any]:
        items = make(*arguments)
        following = spent.of("batches", lambda: next(items, None))
        while (item := following()) is not None:
            yield item

    return made
