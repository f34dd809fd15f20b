"""Classification: cross-entropy on the rows that have a label."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from peerlearn.objectives.base import Objective, PeerView
from peerlearn.objectives.labels import UNLABELLED


class Classification(BaseModel, Objective):
    """Cross-entropy for one class a row, binary cross-entropy for multi-label targets.

    The mean runs over labelled rows; a batch without any gives 0. Deep Mutual Learning
    (Zhang et al. 2018), equation 2 and its semi-supervised form; with `entropy`, the total loss
    of graph mutual learning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="probability spread evenly over all classes"
    )

    entropy: float = Field(
        0.0,
        ge=0,
        description="γ of −γ·H: rewards predictions that keep their entropy (confidence penalty)",
    )
    entropy_rows: Literal["all", "labelled"] = Field(
        "all", description="rows whose entropy is rewarded"
    )

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer.

        Shapes:
            output.logits: (R, C), or (batch, C, ...) with further dimensions.
            targets: int64 (R,) or (batch, ...), −1 where unlabelled; or float of the shape of
                logits, 0 and 1, for multi-label, a row of NaN where unlabelled.
            result: scalar, fp32.
        """
        logits = view.output.logits
        targets, labelled = view.labels()
        loss = cross_entropy(logits, targets, labelled, self.label_smoothing)
        if self.entropy == 0:
            return loss
        rows = labelled if self.entropy_rows == "labelled" else torch.ones_like(labelled)
        return loss - self.entropy * mean_entropy(logits, rows, targets.is_floating_point())


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
        cells = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        if class_weights is not None:
            cells = cells * class_weights.view(-1, *[1] * (logits.ndim - 2))
        return (cells.sum(1) * labelled).sum() / labelled.sum().clamp_min(1)
    total = F.cross_entropy(
        logits,
        targets,
        weight=class_weights,
        ignore_index=UNLABELLED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    if class_weights is None:
        return total / labelled.sum().clamp_min(1)
    weight = (class_weights[targets.clamp_min(0)] * labelled).sum()
    return total / torch.where(weight > 0, weight, 1)


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
        entropy = F.binary_cross_entropy_with_logits(logits, logits.sigmoid(), reduction="none")
        entropy = entropy.sum(-1)
    else:
        log_probs = F.log_softmax(logits, dim=-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
    return (entropy * rows).sum() / rows.sum().clamp_min(1)
