"""What one peer learns from the data: the contract, plain losses as a part of it, and the default,
cross-entropy on the rows that have a label.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.importing import PREFIX, imported
from peerlearn.objectives.labels import UNLABELLED, labelled_mask
from peerlearn.transfer.outputs import OutputForm, PeerOutput, masked_at_a_number
from peerlearn.validation import Spec, short_form


class PeerView(NamedTuple):
    """What one peer sees of a batch.

    Attributes:
        output: of the peer, logits in fp32.
        targets: of the batch; what they are is between the loader and the objective.
        labelled: bool, which rows (or pixels) have a label; None where targets are no labels.
        peer: the network itself, whose parameters an objective may read; None where nobody says.
        progress: finished fraction of the stage, 0 to 1; None where nobody counts.
        form: of the cohort's outputs; None where nobody says.
        taught: share of the peer's edges that are open, where they must prove themselves.
    """

    output: PeerOutput
    targets: Any
    labelled: Tensor | None = None
    peer: nn.Module | None = None
    progress: float | None = None
    form: OutputForm | None = None
    taught: float = 1.0

    @classmethod
    def of(cls, output: PeerOutput, targets: Any, **more: Any) -> "PeerView":
        """The view of an output as a network gives it: finds the labelled rows by itself."""
        return cls(output.in_fp32(), targets, labelled_mask(targets), **more)

    def labels(self) -> tuple[Tensor, Tensor]:
        """Targets that are labels, and which rows have one.

        Raises InputError: they are no labels, or not such as the form of the cohort asks for.
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

    @property
    def reads_labels(self) -> bool:
        """Whether targets are labels: then a loop of one's own may give them in any plain form.

        See `peerlearn.objectives.targets`.
        """
        return False

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

    @property
    def reads_labels(self) -> bool:
        return True

    def loss(self, view: PeerView) -> Tensor:
        targets, labelled = view.labels()
        logits = view.output.logits.movedim(1, -1)[labelled]
        if not len(logits):
            return logits.sum()
        chosen = targets.movedim(1, -1) if targets.is_floating_point() else targets
        return self._called(logits, chosen[labelled])

    def _called(self, logits: Tensor, targets: Tensor) -> Tensor:
        try:
            loss = self.function(logits, targets)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"objective: {self} fails on logits {tuple(logits.shape)} and targets "
                f"{tuple(targets.shape)} of {targets.dtype}: {reason}"
            ) from error
        if not isinstance(loss, Tensor) or loss.ndim:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{loss!r}"
            raise InputError(f"objective: {self} gave {found}; expected a scalar tensor, a mean")
        return loss

    def __str__(self) -> str:
        named = getattr(self.function, "__name__", None)
        return named or type(self.function).__name__


def as_objective(given: Any) -> Objective:
    """An `Objective` as it is, a function of logits and targets as a `PlainLoss`, or InputError."""
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


class Classification(Spec, Objective):
    """Cross-entropy for one class a row, binary cross-entropy for multi-label targets.

    The mean runs over labelled rows; a batch without any gives 0. Deep Mutual Learning
    (Zhang et al. 2018), equation 2 and its semi-supervised form; with `entropy`, the total loss
    of graph mutual learning.
    """

    function: str | None = Field(
        None,
        description="python:package.module:NAME, a loss of logits and targets of labelled rows in "
        "place of cross-entropy; alone a short form",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="probability spread evenly over all classes"
    )
    entropy: float = Field(
        0.0,
        ge=0,
        description="γ of −γ·H: rewards predictions that keep their entropy (confidence penalty), "
        "times the share of a peer's edges that are open where they must be proven",
    )
    entropy_rows: Literal["all", "labelled"] = Field(
        "all", description="rows whose entropy is rewarded"
    )

    _function_alone = short_form("function")

    @model_validator(mode="after")
    def _one_loss(self) -> "Classification":
        if self.function is None:
            return self
        if not self.function.startswith(PREFIX):
            raise ValueError(f"function: found {self.function!r}; expected {PREFIX}module:NAME")
        if self.label_smoothing:
            raise ValueError(
                "label_smoothing: belongs to cross-entropy, not to a function of yours"
            )
        return self

    @property
    def reads_labels(self) -> bool:
        return True

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer, a scalar in fp32.

        Shapes:
            output.logits: (R, C), or (batch, C, ...) with further dimensions.
            targets: int64 (R,) or (batch, ...), −1 where unlabelled; or float of the shape of
                logits, 0 and 1, for multi-label, a row of NaN where unlabelled.
        """
        logits = view.output.logits
        targets, labelled = view.labels()
        if self.function is not None:
            loss = PlainLoss(_loss_named(self.function)).loss(view)
        else:
            loss = cross_entropy(logits, targets, labelled, self.label_smoothing)
        reward = self.entropy * view.taught  # whom nobody teaches trains exactly as alone
        if reward == 0:
            return loss
        rows = labelled if self.entropy_rows == "labelled" else torch.ones_like(labelled)
        return loss - reward * mean_entropy(logits, rows, targets.is_floating_point())


@cache
def _loss_named(name: str) -> Function:
    with imported(name, "objective.function", "function", "gives a loss") as function:
        return function


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    labelled: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of the labelled rows; of several labels a row, the sum of theirs.

    With weights, Σ w_y · CE / Σ w_y over rows as in torch for one class a row; for several labels,
    the weight of each label's own cross-entropy in the sum. Without any labelled row, 0.

    Shapes:
        logits: (R, C), or (batch, C, ...) with further dimensions, in fp32.
        targets: int64 (R,) or (batch, ...); or float of the shape of logits.
        labelled: bool, `labelled_rows(targets)`.
        class_weights: (C,), or None for 1 each.
        result: scalar.
    """
    if targets.is_floating_point():
        smooth = targets.nan_to_num() * (1 - label_smoothing) + label_smoothing / 2
        if label_smoothing:  # which asks nothing of a label that a peer masks
            smooth = smooth.masked_fill(logits.isneginf() & (targets == 0), 0)
        cells = _of_labels(logits, smooth)
        if class_weights is not None:
            cells = cells * class_weights.view(-1, *[1] * (logits.ndim - 2))
        return (cells.sum(1) * labelled).sum() / labelled.sum().clamp_min(1)
    options: dict[str, Any] = {"ignore_index": UNLABELLED, "label_smoothing": label_smoothing}
    total = F.cross_entropy(logits, targets, weight=class_weights, reduction="sum", **options)
    if class_weights is None:
        return total / labelled.sum().clamp_min(1)
    weight = (class_weights[targets.clamp_min(0)] * labelled).sum()
    return total / torch.where(weight > 0, weight, 1)


def _of_labels(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each label, p = sigmoid(logits), where a peer may mask labels by −∞.

    Those are never there: 0 where the target is 0, else ∞. torch's own has 0 · (−∞) in it.
    """
    masked = logits.isneginf()
    cells = F.binary_cross_entropy_with_logits(
        logits.masked_fill(masked, 0), targets, reduction="none"
    )
    return cells.masked_fill(masked, 0).masked_fill(masked & (targets > 0), math.inf)


def mean_entropy(logits: Tensor, rows: Tensor, multilabel: bool = False) -> Tensor:
    """Mean entropy of the predictions of the rows that `rows` marks, in nats.

    Pereyra et al. 2017, "Regularizing neural networks by penalizing confident output
    distributions"; the entropy enhancement of graph mutual learning (Agbaje et al. 2025).

    Shapes:
        logits: (R, C), or (batch, C, ...).
        rows: bool (R,), or (batch, ...).
        multilabel: labels are independent: the entropies of a row's labels add up.
    """
    logits = logits.movedim(1, -1)
    if multilabel:
        entropy = _of_labels(logits, logits.sigmoid()).sum(-1)
    else:
        log_probs = masked_at_a_number(F.log_softmax(logits, dim=-1))
        entropy = -(log_probs.exp() * log_probs).sum(-1)
    return (entropy * rows).sum() / rows.sum().clamp_min(1)
