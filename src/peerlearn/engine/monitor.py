"""What training itself reports: mean losses and accuracy of an epoch, and the first bad number."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from peerlearn.cohort import PeerLoss
from peerlearn.engine.steps import StepResult
from peerlearn.errors import RunError
from peerlearn.objectives.labels import labelled_rows


class EpochMonitor:
    """Running sums by peer, kept on the device so that a step never waits for it.

    Args:
        peers: those that train in this process.
        device: of the losses.
        patience: steps between looks at whether losses are finite; every look waits for the
            device, which costs nothing on a CPU.
    """

    def __init__(self, peers: Iterable[str], device: torch.device) -> None:
        self.patience = 1 if device.type == "cpu" else 50
        # objective, transfer, batches, correct, labelled
        self.sums = {name: torch.zeros(5, dtype=torch.float64, device=device) for name in peers}
        self._unchecked: list[tuple[int, dict[str, PeerLoss]]] = []

    def add(self, step: int, result: StepResult) -> None:
        """Count one micro-batch; `step` is its number in the run, for messages."""
        labelled = labelled_rows(result.targets)
        for name, loss in result.losses.items():
            right = _correct(result.logits[name], result.targets) & labelled
            parts = (loss.objective, loss.transfer, 1, right.sum(), labelled.sum())
            self.sums[name] += torch.stack([torch.as_tensor(p, device=right.device) for p in parts])
        self._unchecked.append((step, result.losses))
        if len(self._unchecked) >= self.patience:
            self.check()

    def check(self) -> None:
        """Look at the losses since the last look.

        Raises:
            RunError: one of them is not finite; names the first such peer and its step.
        """
        for step, losses in self._unchecked:
            # A peer that breaks breaks its learners' transfer too: the objective tells who it was.
            for part in ("objective", "transfer"):
                for name, loss in losses.items():
                    value = getattr(loss, part)
                    if not torch.isfinite(value):
                        raise RunError(
                            f"peer {name!r}: its {part} loss became {value.item()} at step {step}"
                        )
        self._unchecked.clear()

    def means(self) -> dict[str, dict[str, float]]:
        """Mean loss, its two parts and training accuracy by peer."""
        record = {}
        for name, sums in self.sums.items():
            objective, transfer, batches, correct, labelled = sums.tolist()
            record[name] = {
                "loss": (objective + transfer) / max(batches, 1),
                "objective": objective / max(batches, 1),
                "transfer": transfer / max(batches, 1),
                "accuracy": correct / max(labelled, 1),
            }
        return record

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, for a checkpoint inside an epoch."""
        return dict(self.sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        for name, sums in self.sums.items():
            sums.copy_(state[name])


def _correct(logits: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point():
        return ((logits > 0) == (targets > 0.5)).all(1)
    return logits.argmax(1) == targets
