"""What training itself reports: mean losses and accuracy of an epoch, and the first bad number."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from peerlearn.engine.steps import StepResult
from peerlearn.errors import RunError

#: Gives sums by peer over all processes with these peers.
Summed = Callable[[Mapping[str, Sequence[float]]], Mapping[str, Sequence[float]]]
LONGEST_WAIT = 0.5  # seconds between looks at numbers on a device
SMOOTHING = 0.1  # share of a new loss in the one that is shown


class EpochMonitor:
    """Sums by peer; numbers stay on the device for a while, so that a step never waits for it.

    Args:
        peers: those that train in this process.
        device: of the losses.
    """

    def __init__(self, peers: Iterable[str], device: torch.device) -> None:
        # Steps between looks at the numbers; a look waits for the device, but for a CPU. Where
        # steps are slow it does not matter, and a look is due after some time.
        self.patience = 1 if device.type == "cpu" else 50
        self.latest: float | None = None
        """Loss of a step, mean over peers, smoothed over the last ones that were looked at."""
        self._looked = time.monotonic()
        # objective, transfer, batches, correct, labelled
        self._sums = {name: [0.0] * 5 for name in peers}
        self._unread: list[tuple[int, list[str], list[Tensor]]] = []

    def add(self, step: int, result: StepResult) -> None:
        """Count one micro-batch; `step` is its number in the run, for messages."""
        labelled = result.labelled
        count = None if labelled is None else labelled.sum()
        numbers: list[Tensor] = []  # of every peer those of `_sums`, without the batches
        for name, (objective, transfer) in result.losses.items():
            if labelled is None or count is None or name not in result.logits:
                nothing = torch.zeros((), device=objective.device)
                numbers += (objective, transfer, nothing, nothing)
                continue
            correct = _correct(result.logits[name], result.targets, labelled)
            numbers += (objective, transfer, correct, count)
        self._unread.append((step, list(result.losses), numbers))
        due = time.monotonic() - self._looked > LONGEST_WAIT
        if due or len(self._unread) >= self.patience:
            self.check()

    def check(self) -> None:
        """Look at the numbers since the last look.

        Raises RunError: a loss is not finite; names the first such peer and its step.
        """
        unread, self._unread = self._unread, []
        self._looked = time.monotonic()
        values = iter(_read([number for _, _, numbers in unread for number in numbers]))
        for step, names, _ in unread:
            parts = {name: [next(values) for _ in range(4)] for name in names}
            _check_finite(step, parts)
            self._smooth([objective + transfer for objective, transfer, *_ in parts.values()])
            for name, (objective, transfer, correct, labelled) in parts.items():
                counted = (objective, transfer, 1, correct, labelled)
                sums = self._sums[name]
                self._sums[name] = [a + b for a, b in zip(sums, counted, strict=True)]

    def _smooth(self, losses: Sequence[float]) -> None:
        if losses:
            mean, before = sum(losses) / len(losses), self.latest
            self.latest = mean if before is None else before + SMOOTHING * (mean - before)

    def means(self, summed: Summed) -> dict[str, dict[str, float]]:
        """Mean loss, its two parts and, where rows had labels, training accuracy by peer.

        `summed` gives the sums over all processes with these peers; see `Transport.summed`.
        """
        self.check()
        record = {}
        for name, (objective, transfer, batches, correct, labelled) in summed(self._sums).items():
            parts = {"loss": objective + transfer, "objective": objective, "transfer": transfer}
            record[name] = {part: total / max(batches, 1) for part, total in parts.items()}
            if labelled:
                record[name]["accuracy"] = correct / labelled
        return record

    def state_dict(self, summed: Summed) -> dict[str, Tensor]:
        """The sums so far, for a checkpoint inside an epoch; `summed` as in `means`."""
        self.check()
        sums = summed(self._sums)
        return {name: torch.tensor(each, dtype=torch.float64) for name, each in sums.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from `state_dict()`."""
        self._sums = {name: state[name].tolist() for name in self._sums}


def _read(scalars: Sequence[Tensor]) -> list[float]:
    """The values of `scalars`, in one wait for an accelerator."""
    if not scalars or scalars[0].device.type == "cpu":
        return [scalar.item() for scalar in scalars]
    values: list[float] = torch.stack([scalar.double() for scalar in scalars]).tolist()
    return values


def _check_finite(step: int, parts: Mapping[str, Sequence[float]]) -> None:
    # A peer that breaks breaks its learners' transfer too: the objective tells who it was.
    for place, part in enumerate(("objective", "transfer")):
        for name, values in parts.items():
            if not math.isfinite(values[place]):
                raise RunError(
                    f"peer {name!r}: its {part} loss became {values[place]} at step {step}"
                )


def _correct(logits: Tensor, targets: Tensor, labelled: Tensor) -> Tensor:
    """How many rows (or pixels) are right, among those with a label."""
    if targets.is_floating_point():
        return (((logits > 0) == (targets > 0.5)).all(1) & labelled).sum()
    if logits.ndim > 2 and logits.device.type == "cpu":
        # Along classes that are not last in memory argmax visits cell by cell, a maximum does not.
        top = logits.amax(1, keepdim=True)
        if int((logits == top).sum()) == targets.numel():  # nowhere two maxima, or none but NaN
            said = logits.gather(1, targets.clamp_min(0).unsqueeze(1)) == top
            return (said.squeeze(1) & (targets >= 0)).sum()
    return (logits.argmax(1) == targets).sum()  # −1, of no label, is no class
