"""Classification: cross-entropy on the rows that have a label."""

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from peerlearn.objectives.labels import UNLABELLED, labelled_rows
from peerlearn.transfer.outputs import PeerOutput


class Classification(BaseModel):
    """Cross-entropy for one class a row, binary cross-entropy for multi-label targets.

    The mean runs over labelled rows; a batch without any gives 0. Deep Mutual Learning
    (Zhang et al. 2018), equation 2 and its semi-supervised form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="probability spread evenly over all classes"
    )

    def __call__(self, output: PeerOutput, targets: Tensor) -> Tensor:
        """The loss of one peer.

        Shapes:
            output.logits: (R, C), or (batch, C, ...) with further dimensions.
            targets: int64 (R,), −1 where unlabelled; or float (R, C) of 0 and 1 for
                multi-label, a row of NaN where unlabelled.
            result: scalar, fp32.
        """
        logits = output.logits.float()
        labelled = labelled_rows(targets)
        count = labelled.sum().clamp_min(1)
        if targets.is_floating_point():
            smooth = targets.nan_to_num() * (1 - self.label_smoothing) + self.label_smoothing / 2
            rows = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(-1)
            return (rows * labelled).sum() / count
        total = F.cross_entropy(
            logits,
            targets,
            ignore_index=UNLABELLED,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        return total / count
