"""One stage while it runs: who learns in it, their optimisers and what makes its steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.engine.feature_cache import FeatureCache
from peerlearn.engine.monitor import EpochMonitor
from peerlearn.engine.precision import Precision
from peerlearn.engine.settings import PeerSettings, TrainingSpec
from peerlearn.engine.stage import TrainingStage
from peerlearn.engine.steps import Stepper
from peerlearn.engine.trainable import learning_only, train_submodules
from peerlearn.engine.transports import Transport
from peerlearn.engine.updates import PeerUpdate, Steps
from peerlearn.errors import RunError
from peerlearn.membership import TRUNK
from peerlearn.modes import kept_modes

SUMMED = (
    torch.float32
)  # on every device; wider weights that overflow in it are looked at one by one


@dataclass
class StageRun:
    """A stage with everything that its steps need."""

    stage: TrainingStage  # what is run
    device: torch.device  # of losses
    learners: Sequence[str]  # peers that live here and train in it
    updates: Mapping[str, PeerUpdate]  # of the learners, and of the trunk where it trains
    stepper: Stepper  # makes the steps
    monitor: EpochMonitor  # sums of the epoch so far

    def check_weights(self) -> None:
        """A last step can break weights that no loss has seen yet; they must not be saved.

        Raises RunError: names the peer.
        """
        for name, update in self.updates.items():
            if not _all_finite(update.parameters):
                raise RunError(f"peer {name!r}: weights stopped being finite")

    def step_event(self, epoch: int, step: int) -> dict[str, Any]:
        """What observers are told after a step; `step` batches of the epoch, from 0, are done.

        The loss is the smoothed one of the steps that were looked at, None before the first look.
        """
        per_epoch = len(self.stage.loader)
        return {
            "event": "step",
            "stage": self.stage.name,
            "done": epoch * per_epoch + step,
            "epoch": epoch + 1,
            "of": self.stage.epochs,
            "step": step,
            "steps": per_epoch,
            "loss": self.monitor.latest,
        }

    def begin_epoch(self) -> None:
        """Sums start anew."""
        self.monitor = EpochMonitor(self.learners, self.device)


def _all_finite(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether all entries are numbers.

    One that is none shows in the sum, which costs a pass over the weights where to look at each
    costs four, after every step of a graph that is a batch by itself. A sum alone can overflow too.
    """
    if torch.stack([p.detach().sum(dtype=SUMMED) for p in parameters]).isfinite().all():
        return True
    return bool(torch.stack([p.detach().isfinite().all() for p in parameters]).all())


@contextmanager
def running(
    stage: TrainingStage,
    cohort: Cohort,
    learners: Sequence[str],
    training: TrainingSpec,
    peers: Mapping[str, PeerSettings],
    seed: int,
    precision: Precision,
    transport: Transport,
) -> Iterator[StageRun]:
    """The stage in its training modes; afterwards modes and gradients are as they were.

    The cohort is on the device of `precision`, with the edges and objectives of the stage; learners
    are those of all processes, and the seed is that of dropout.
    """
    here = [name for name in learners if name in transport.owned]
    device = precision.device
    around = stage.around(cohort) if stage.around is not None else nullcontext()
    with around, learning_only((cohort.peers[name] for name in learners), stage.trainable):
        modules: dict[str, nn.Module] = {name: cohort.peers[name] for name in here}
        if cohort.trunk is not None and stage.trunk:
            modules[TRUNK] = cohort.trunk
        updates = {}
        for name, module in modules.items():
            said = (training, stage.steps, peers.get(name))
            extra = cohort.learned_for(name) if name in cohort.names else ()
            made = (Steps.settled(*said), training.clip_norm, training.ema, extra)
            updates[name] = PeerUpdate(module, *made, Steps.of_groups(*said))
        views = {name: settings.view for name, settings in peers.items()}
        kept = FeatureCache(stage.versions) if stage.versions and not stage.trunk else None
        keys = (seed, stage.name, stage.epochs, stage.trunk, kept)
        stepper = Stepper(cohort, updates, precision, transport, views, learners, *keys)
        run = StageRun(stage, device, here, updates, stepper, EpochMonitor(here, device))
        with _training_modes(stage, cohort, learners):
            yield run


@contextmanager
def _training_modes(
    stage: TrainingStage, cohort: Cohort, learners: Sequence[str]
) -> Iterator[None]:
    with kept_modes(cohort):
        cohort.train()
        for name, peer in cohort.peers.items():
            if name in learners:
                train_submodules(peer, stage.trainable)
            else:
                peer.eval()
        if cohort.trunk is not None and not stage.trunk:
            cohort.trunk.eval()
        yield
