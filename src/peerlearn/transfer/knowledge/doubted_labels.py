"""Doubted labels: a learner learns that a row is not of the class of its label, as far as teachers
doubt it.

Negative learning, "this is not class y", is that of Kim, Yim, Yun, Kim, "NLNL: Negative Learning
for Noisy Labels", ICCV 2019. To weigh it row by row by the doubts of a peer that was trained on few
rows one trusts is ours: against labels that are noisy or poisoned.

Shape suffixes: R rows, C classes.
"""

from collections.abc import Collection, Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer.knowledge.base import EdgeOptions, IncomingEdges, Knowledge, Rows
from peerlearn.transfer.outputs import (
    BatchView,
    class_last,
    class_last_log_probabilities,
    in_fp32,
)

#: Least probability that a row is not of the class of its label, so that its logarithm is finite.
SMALLEST = 1e-6


class DoubtedLabelOptions(EdgeOptions):
    """Options of entries about doubted labels."""

    headline = "doubt"
    reported = ("weight", "target")

    doubt: Literal["teacher", "everything", "others_rows"] = Field(
        "teacher",
        description="weight of a row: 1 − p(y) / max p by the teacher, 0 where the label is what "
        "it would say; everything: 1. others_rows: the teacher's doubts, of other rows of the "
        "batch: a control, which says whether it matters where they fall",
    )
    rows: Rows = Field("all", description="rows of the batch the entry averages over")

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.rows == "unlabelled":
            yield "rows: 'unlabelled', but these have no label to doubt; allowed: all, labelled"
        if self.target == "ensemble":
            yield "target: 'ensemble' with knowledge 'doubted_labels'; allowed: mean, sum"


class DoubtedLabelKnowledge(Knowledge):
    """A learner's loss is the mean over labelled rows of −s log(1 − p(y)), s a teacher's doubt."""

    Options = DoubtedLabelOptions
    options: DoubtedLabelOptions
    travels = "logits"

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """Raises InputError: targets that are not one class a row."""
        return {edges.learner: self._loss(edges, view) for edges in self.wanted(learners)}

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        y_R = self._labels(view)
        log_probs_RC = _log_probabilities(view, edges.learner)
        says_R = log_probs_RC.gather(-1, y_R.clamp_min(0).unsqueeze(-1))[..., 0].exp()
        cost_R = -torch.log((1 - says_R).clamp_min(SMALLEST))
        known_R = y_R >= 0
        if (mask_R := view.row_mask(self.options.rows)) is not None:
            known_R = known_R & mask_R
        losses = [
            (self._doubts(teacher, y_R, view) * cost_R * known_R).sum() / known_R.sum().clamp_min(1)
            for teacher in edges.teachers
        ]
        return self.options.of_teachers(losses)

    def _doubts(self, teacher: str, y_R: Tensor, view: BatchView) -> Tensor:
        """s of every row, in [0, 1]."""
        if self.options.doubt == "everything":
            return torch.ones_like(y_R, dtype=torch.float32)
        log_probs_RC = _log_probabilities(view, teacher)
        own_R = log_probs_RC.gather(-1, y_R.clamp_min(0).unsqueeze(-1))[..., 0]
        doubts_R = 1 - (own_R - log_probs_RC.amax(-1)).exp()
        if self.options.detach:
            doubts_R = doubts_R.detach()
        return doubts_R.roll(1, 0) if self.options.doubt == "others_rows" else doubts_R

    def _labels(self, view: BatchView) -> Tensor:
        targets, classes = view.targets, self.form == "softmax"
        if classes and isinstance(targets, Tensor) and not targets.is_floating_point():
            return targets
        raise InputError(
            f"{self.field}: knowledge 'doubted_labels' doubts the one class of a row; pass "
            "targets, int64 classes"
        )


def _log_probabilities(view: BatchView, peer: str) -> Tensor:
    """(R, C) or with further dimensions between, in fp32; once a batch."""

    def read() -> Tensor:
        logits_RC = class_last(in_fp32(view.outputs[peer].logits))
        return class_last_log_probabilities(logits_RC, 1.0, "softmax")

    return view.once(("log-probabilities", peer), read)
