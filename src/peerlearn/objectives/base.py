"""What one peer learns from the data: the contract, and plain losses as a part of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_mask
from peerlearn.transfer.outputs import OutputForm, PeerOutput


class PeerView(NamedTuple):
    """What one peer sees of a batch.

    Attributes:
        output: of the peer, logits in fp32.
        targets: of the batch; what they are is between the loader and the objective.
        labelled: bool, which rows (or pixels) have a label; None where targets are no labels.
        peer: the network itself, whose parameters an objective may read; None where nobody says.
        progress: finished fraction of the stage, 0 to 1; None where nobody counts.
        form: of the cohort's outputs; None where nobody says.
    """

    output: PeerOutput
    targets: Any
    labelled: Tensor | None = None
    peer: nn.Module | None = None
    progress: float | None = None
    form: OutputForm | None = None

    @classmethod
    def of(cls, output: PeerOutput, targets: Any, **more: Any) -> "PeerView":
        """The view of an output as a network gives it: finds the labelled rows by itself."""
        return cls(output.in_fp32(), targets, labelled_mask(targets), **more)

    def labels(self) -> tuple[Tensor, Tensor]:
        """Targets that are labels, and which rows have one.

        Raises:
            InputError: they are no labels, or not such as the form of the cohort asks for.
        """
        targets, labelled = self.targets, self.labelled
        if labelled is None:
            found = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
            raise InputError(
                f"targets: found {found} that are no labels; this objective reads int64 classes or "
                "float indicators (rows, labels)"
            )
        if self.form is not None and targets.is_floating_point() != (self.form == "sigmoid"):
            raise InputError(
                f"targets: {targets.dtype} in a cohort of form {self.form!r}; classes are "
                "int64 with form 'softmax', multi-label targets are float with form 'sigmoid'"
            )
        return targets, labelled


class Objective:
    """What a peer learns from the data; a mixin, so that options and `nn.Module`s can be one.

    One that is an `nn.Module` is moved, stepped and saved with its peer.
    """

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer for one batch, a scalar."""
        raise NotImplementedError

    def scored(self, output: PeerOutput) -> Tensor | None:
        """The logits that targets are about, for the accuracy of training; None: no such."""
        return output.logits


#: `(logits, targets)` to a scalar; see `PlainLoss`.
Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PlainLoss(Objective):
    """A loss of the field's kind, such as `nn.CrossEntropyLoss()`, on the rows that have a label.

    Pixels count as rows. Without any labelled row the loss is 0. On an accelerator it waits for
    the device, which has to say how many rows these are.

    Args:
        function: given logits in fp32 (R, C) and targets (R,), or (R, C) for multi-label.
    """

    function: Function

    def loss(self, view: PeerView) -> Tensor:
        targets, labelled = view.labels()
        logits = view.output.logits.movedim(1, -1)[labelled]
        if not len(logits):
            return logits.sum()
        chosen = targets.movedim(1, -1) if targets.is_floating_point() else targets
        return self.function(logits, chosen[labelled])


def as_objective(given: Any) -> Objective:
    """An `Objective` as it is; a function of logits and targets as a `PlainLoss`.

    Raises:
        InputError: neither of them.
    """
    if isinstance(given, Objective):
        return given
    if callable(given) and not isinstance(given, type):
        return PlainLoss(given)
    found = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise InputError(
        f"objective: found {found}; expected an Objective, or a function of (logits, targets) "
        "such as nn.CrossEntropyLoss()"
    )


def module_of(objective: Objective) -> nn.Module | None:
    """The part of an objective that is moved, stepped and saved; None where it has no state."""
    held = objective.function if isinstance(objective, PlainLoss) else objective
    return held if isinstance(held, nn.Module) else None
