"""Who teaches whom: the edges between the peers of a cohort and the losses they make.

Shape suffixes: T teachers, R rows, C classes.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.adaptive import AdaptiveParts
from peerlearn.transfer.divergences import LOGIT_DISTANCES, PROBABILITY_DIVERGENCES, renyi
from peerlearn.transfer.gates import gate_value
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.transfer.predictions import (
    OutputForm,
    Predictions,
    class_last,
    mean_log_probabilities,
)
from peerlearn.transfer.schedules import Schedule
from peerlearn.transfer.spec import EdgeSpec, TransferSpec
from peerlearn.validation import validated


@dataclass(frozen=True)
class Lesson:
    """What one learner takes from all teachers of one entry of the graph."""

    entry: int
    teachers: tuple[str, ...]
    learner: str
    spec: EdgeSpec


class TransferGraph(nn.Module):
    """Directed edges between named peers.

    Args:
        transfer: a `TransferSpec`, or any of its forms: `"predictions: kl"`, `"none"`, a mapping.
        peers: names of the cohort's peers, in order.
        form: `softmax` for one class a row, `sigmoid` for multi-label outputs.

    Raises:
        InputError: unknown key or value, an unknown peer in `from` or `to`, or edges without two
            peers to connect.
    """

    def __init__(
        self,
        transfer: TransferSpec | str | Mapping[str, Any] | None,
        peers: Sequence[str],
        form: OutputForm = "softmax",
    ) -> None:
        super().__init__()
        self.spec = (
            transfer
            if isinstance(transfer, TransferSpec)
            else validated(TransferSpec, transfer, "transfer")
        )
        self.peers = tuple(peers)
        self.form: OutputForm = form
        self.lessons = tuple(_lessons(self.spec, peers))
        self.adaptive = AdaptiveParts()

    @property
    def sequential(self) -> bool:
        """Whether each peer learns from peers that have already stepped."""
        return self.spec.update == "sequential"

    def prepare(self, outputs: Mapping[str, PeerOutput]) -> None:
        """Make what the edges themselves learn, for batches of the shape of `outputs`.

        Initial values come from torch's global generator. Without adaptive weighting and learned
        temperature there is nothing to make; otherwise call it once, before training.
        """
        for lesson in self.lessons:
            _check_shapes(lesson, outputs)
            logits_RC = class_last(outputs[lesson.learner].logits)
            peers = (lesson.learner, *lesson.teachers)
            self.adaptive.add(lesson.entry, lesson.spec, peers, logits_RC)

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """What the edges learn on behalf of one peer, for its optimiser."""
        return self.adaptive.parameters_of(peer)

    def edges(self) -> Iterator[dict[str, Any]]:
        """Every edge as a flat mapping, for reports."""
        for lesson in self.lessons:
            spec = lesson.spec
            weight = spec.weight_schedule.describe(spec.weight)
            divergence = (
                f"renyi α={spec.alpha_schedule.describe(spec.alpha)}"
                if spec.alpha is not None
                else spec.divergence
            )
            for teacher in lesson.teachers:
                yield {
                    "from": teacher,
                    "to": lesson.learner,
                    "knowledge": spec.knowledge,
                    "divergence": divergence,
                    "temperature": spec.temperature,
                    "teacher_temperature": spec.teacher_temperature,
                    "weighting": spec.weighting.by,
                    "weight": weight,
                    "gate": spec.gate,
                    "target": spec.target,
                }

    def losses(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Tensor | None = None,
        *,
        labelled: Tensor | None = None,
        progress: float | None = None,
        learners: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted transfer loss of each learner, a scalar in fp32; 0 where nobody teaches.

        Args:
            outputs: of every peer for the same rows.
            targets: labels, read by the gate `correct`.
            labelled: boolean mask over rows, read where `rows` is not `all`; None: all labelled.
            progress: finished fraction of the stage, needed where a schedule moves.
            learners: peers to compute the loss of; None for all.

        Raises:
            InputError: peers of one lesson disagree in the shape of their logits.
        """
        plain = Predictions(outputs)
        weighted: dict[int, Predictions] = {}  # one for each entry that weights its logits
        chosen = outputs if learners is None else learners
        losses = {name: outputs[name].logits.new_zeros((), dtype=torch.float32) for name in chosen}
        for lesson in self.lessons:
            if lesson.learner in losses:
                self.adaptive.check(lesson.entry, lesson.spec, lesson.learner)
                if parts := self.adaptive.weightings_of(lesson.entry):
                    weighted.setdefault(lesson.entry, Predictions(outputs, parts))
                predictions = weighted.get(lesson.entry, plain)
                term = self._lesson_loss(lesson, predictions, targets, labelled, progress)
                if term is not None:
                    losses[lesson.learner] = losses[lesson.learner] + term
        for peer, term in self.adaptive.supervision(outputs, targets, labelled):
            if peer in losses:
                losses[peer] = losses[peer] + term
        return losses

    def _lesson_loss(
        self,
        lesson: Lesson,
        predictions: Predictions,
        targets: Tensor | None,
        labelled: Tensor | None,
        progress: float | None,
    ) -> Tensor | None:
        spec = lesson.spec
        weight = _at(spec.weight_schedule, progress, spec.weight, "weight")
        if weight == 0 or spec.gate == "cutoff":
            return None
        _check_shapes(lesson, predictions.outputs)

        temperature = self._temperature(lesson, predictions)
        teacher_TRC = torch.stack(
            [
                self._read(predictions, spec, t, spec.teacher_temperature or temperature)
                for t in lesson.teachers
            ]
        )
        if spec.detach:
            teacher_TRC = teacher_TRC.detach()
        learner_RC = self._read(predictions, spec, lesson.learner, temperature)
        if spec.target == "ensemble":
            on_logits = spec.divergence in LOGIT_DISTANCES
            teacher_TRC = (
                teacher_TRC.mean(0) if on_logits else mean_log_probabilities(teacher_TRC)
            ).unsqueeze(0)

        # Gradients shrink with 1/τ²; the factor keeps weights comparable (Hinton et al. 2015).
        scale = temperature**2 if isinstance(temperature, float) else temperature[..., 0] ** 2
        loss_TR = self._compare(spec, teacher_TRC, learner_RC, progress) * scale
        probabilities = None if spec.divergence in LOGIT_DISTANCES else teacher_TRC
        if self.form == "sigmoid":
            probabilities = None
        gate = gate_value(spec.gate, probabilities, targets, progress, spec.gate_threshold)
        loss_T = _mean_over_rows(loss_TR * gate, _row_mask(spec.rows, labelled))
        return weight * (loss_T.sum() if spec.target == "sum" else loss_T.mean())

    def _temperature(self, lesson: Lesson, predictions: Predictions) -> float | Tensor:
        """The temperature of a lesson: a number, or one for each of the learner's rows (R, 1)."""
        if lesson.spec.temperature == "learned":
            logits_RC = predictions.logits(lesson.learner)
            return self.adaptive.temperature(lesson.entry, lesson.learner, logits_RC)
        return lesson.spec.temperature

    def _read(
        self, predictions: Predictions, spec: EdgeSpec, peer: str, temperature: float | Tensor
    ) -> Tensor:
        if spec.divergence in LOGIT_DISTANCES:
            return predictions.logits(peer)
        log_probs = predictions.log_probs(peer, temperature, self.form)
        return log_probs if spec.clamp is None else log_probs.clamp_min(math.log(spec.clamp))

    def _compare(
        self, spec: EdgeSpec, teacher_TRC: Tensor, learner_RC: Tensor, progress: float | None
    ) -> Tensor:
        if spec.divergence in LOGIT_DISTANCES:
            return LOGIT_DISTANCES[spec.divergence](teacher_TRC, learner_RC)
        if spec.alpha is not None:
            alpha = _at(spec.alpha_schedule, progress, spec.alpha, "alpha")
            divergence = renyi(teacher_TRC, learner_RC, alpha)
        else:
            divergence = PROBABILITY_DIVERGENCES[spec.divergence](teacher_TRC, learner_RC)
        if self.form == "sigmoid":  # labels are independent, so their divergences add up
            divergence = divergence.sum(-1)
        return divergence


def _lessons(spec: TransferSpec, peers: Sequence[str]) -> Iterator[Lesson]:
    for number, entry in enumerate(spec.entries()):
        field = "transfer" if spec.edges == "all" else f"transfer.edges.{number}"
        teachers = _peer_names(entry.teachers, peers, f"{field}.from")
        learners = _peer_names(entry.learners, peers, f"{field}.to")
        pairs = [(learner, [t for t in teachers if t != learner]) for learner in learners]
        if not any(others for _, others in pairs):
            raise InputError(
                f"{field}: nobody to learn from: an edge needs two different peers, found "
                f"{', '.join(map(repr, peers))}. Add a peer, or train alone with transfer: none."
            )
        for learner, others in pairs:
            if others:
                yield Lesson(number, tuple(others), learner, entry)


def _peer_names(given: str | list[str], peers: Sequence[str], field: str) -> list[str]:
    names = list(peers) if given == "all" else [given] if isinstance(given, str) else given
    for name in names:
        if name not in peers:
            raise unknown_name("peer", name, peers, field)
        if names.count(name) > 1:
            raise InputError(f"{field}: {name!r} is named twice; to count it more use weight")
    return names


def _at(schedule: Schedule, progress: float | None, value: float, field: str) -> float:
    if schedule.kind == "constant":
        return value
    if progress is None:
        raise InputError(
            f"transfer.{field}_schedule follows the training: pass progress=, the finished "
            "fraction from 0 to 1"
        )
    return schedule.at(progress, value)


def _check_shapes(lesson: Lesson, outputs: Mapping[str, PeerOutput]) -> None:
    shape = outputs[lesson.learner].logits.shape
    for teacher in lesson.teachers:
        found = outputs[teacher].logits.shape
        if found != shape:
            raise InputError(
                f"transfer: peers {teacher!r} and {lesson.learner!r} disagree in their outputs: "
                f"logits of shape {tuple(found)} and {tuple(shape)}; predictions can only pass "
                "between peers with the same classes and rows"
            )


def _row_mask(rows: str, labelled: Tensor | None) -> Tensor | None:
    if rows == "all":
        return None
    if labelled is None:
        if rows == "labelled":
            return None
        raise InputError("transfer.rows: 'unlabelled' needs targets that mark unlabelled rows")
    return labelled if rows == "labelled" else ~labelled


def _mean_over_rows(loss_TR: Tensor, mask_R: Tensor | None) -> Tensor:
    flat = loss_TR.flatten(1)
    if mask_R is None:
        return flat.mean(1)
    mask = mask_R.flatten().to(flat.dtype)
    return (flat * mask).sum(1) / mask.sum().clamp_min(1)
