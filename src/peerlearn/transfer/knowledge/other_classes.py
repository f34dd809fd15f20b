"""Other classes: learners keep what they say of all classes but the label's from their teachers'.

Pang, Xu, Du, Chen, Zhu, "Improving Adversarial Robustness via Promoting Ensemble Diversity", ICML
2019: of networks that agree on the label, predictions of the other classes are pushed apart, by the
volume that these span as unit vectors. It is diversity of what networks say, where those of
posteriors and of features are of how they get there. The paper takes the mean of logarithms over
rows; here the logarithm is of the mean, as of every edge that repels. A row can have several
labels, as a user has several items among candidates; all of them are left out.

Shape suffixes: R rows, C classes.
"""

from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer.knowledge.base import IncomingEdges, Knowledge
from peerlearn.transfer.knowledge.repelling import RepellingOptions
from peerlearn.transfer.outputs import BatchView, in_fp32, non_target_log_probabilities


class OtherClassOptions(RepellingOptions):
    """Options of entries about other classes."""

    reported = ("transform", "stop_distance", "weight", "target")

    @property
    def loss_name(self) -> str:
        return "1 − cos²"


class OtherClassKnowledge(Knowledge):
    """A learner's loss is −f(D), D the mean of 1 − cos² over labelled rows, between 0 and 1.

    cos is of the learner's and a teacher's probabilities of the classes other than the label's, so
    that 1 − cos² is the determinant of their Gram matrix, a squared volume. The label's logit gets
    no gradient. A batch without labels teaches nothing.
    """

    Options = OtherClassOptions
    options: OtherClassOptions
    travels = "logits"

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """−f(D), the mean or the sum over teachers.

        Raises InputError: targets or logits that are not of one class a row, fewer than 3 classes,
        or teachers of other classes than the learner's.
        """
        return {edges.learner: self._loss(edges, view) for edges in self.wanted(learners)}

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        labels = self._labels(view)
        known_R = (labels > 0).any(1) if labels.is_floating_point() else labels >= 0
        learnt_RC = self._unit_vectors(edges.learner, labels, view)
        if not known_R.any():
            return learnt_RC.new_zeros(())
        losses = []
        for teacher in edges.teachers:
            taught_RC = self._unit_vectors(teacher, labels, view)
            if taught_RC.shape != learnt_RC.shape:
                raise InputError(
                    f"{self.field}: logits of peer {teacher!r} have shape {tuple(taught_RC.shape)} "
                    f"and those of peer {edges.learner!r} {tuple(learnt_RC.shape)}; knowledge "
                    "'other_classes' compares the same classes"
                )
            taught_RC = taught_RC.detach() if self.options.detach else taught_RC
            apart_R = 1 - (learnt_RC * taught_RC).sum(1).square()
            losses.append(self.options.repulsion(apart_R[known_R].mean()))
        return self.options.of_teachers(losses)

    def _unit_vectors(self, peer: str, labels: Tensor, view: BatchView) -> Tensor:
        """Probabilities of all classes but the label's over their norm, once a batch of a peer."""

        def made() -> Tensor:
            logits_RC = in_fp32(view.outputs[peer].logits)
            if logits_RC.ndim != 2:
                raise InputError(
                    f"{self.field}: logits of peer {peer!r} have shape {tuple(logits_RC.shape)}; "
                    "knowledge 'other_classes' needs (rows, classes)"
                )
            return F.normalize(non_target_log_probabilities(logits_RC, labels).exp(), dim=1)

        return view.once((id(self), peer), made)

    def _labels(self, view: BatchView) -> Tensor:
        targets = view.targets
        if self.form == "softmax" and isinstance(targets, Tensor):
            if targets.is_floating_point() and targets.ndim == 2:
                return targets
            if not targets.is_floating_point() and targets.ndim == 1:
                return targets if view.labelled is None else targets.where(view.labelled, -1)
        raise InputError(
            f"{self.field}: knowledge 'other_classes' leaves out the label of a row; pass targets "
            "(rows,), int64 classes, or (rows, classes), 1 at each of several labels"
        )
