"""The loss of a lesson about predictions.

Shape suffixes: T teachers, R rows, C classes.
"""

import math

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.transfer.adaptive import AdaptiveParts
from peerlearn.transfer.divergences import LOGIT_DISTANCES, between_probabilities
from peerlearn.transfer.gates import gate_value
from peerlearn.transfer.lessons import Exchange, Lesson
from peerlearn.transfer.predictions import (
    OutputForm,
    Predictions,
    mean_log_probabilities,
    stacked,
)
from peerlearn.transfer.spec import EdgeSpec


def prediction_loss(
    lesson: Lesson,
    predictions: Predictions,
    exchange: Exchange,
    adaptive: AdaptiveParts,
    form: OutputForm,
) -> Tensor:
    """How far a learner's predictions are from its teachers', a scalar in fp32.

    Args:
        lesson: from `lessons_of`.
        predictions: of the batch, weighted where the lesson's entry weights logits.
        exchange: what else is known of the batch.
        adaptive: the learned parts of the graph.
        form: `softmax` for one class a row, `sigmoid` for multi-label outputs.

    Raises:
        InputError: the peers disagree in the shape of their logits.
    """
    spec = lesson.spec
    check_shapes(lesson, exchange)
    temperature = _temperature(lesson, predictions, adaptive)
    on_logits = spec.divergence in LOGIT_DISTANCES
    teachers_RC = [
        _read(predictions, spec, t, spec.teacher_temperature or temperature, form)
        for t in lesson.teachers
    ]
    if spec.detach:
        teachers_RC = [each.detach() for each in teachers_RC]
    learner_RC = _read(predictions, spec, lesson.learner, temperature, form)
    if spec.target == "ensemble":
        all_TRC = stacked(teachers_RC)
        teachers_RC = [all_TRC.mean(0) if on_logits else mean_log_probabilities(all_TRC)]

    # Gradients shrink with 1/τ²; the factor keeps weights comparable (Hinton et al. 2015).
    scale = temperature**2 if isinstance(temperature, float) else temperature[..., 0] ** 2
    mask_R = exchange.row_mask(spec.rows)
    readable = not on_logits and form == "softmax"
    losses = []
    for teachers in _compared_at_once(teachers_RC):
        loss = _divergence(spec, teachers, learner_RC, exchange, form) * scale
        gate = gate_value(
            spec.gate,
            teachers if readable else None,
            exchange.targets,
            exchange.progress,
            spec.gate_threshold,
        )
        loss_TR = loss * gate if teachers.ndim > learner_RC.ndim else (loss * gate).unsqueeze(0)
        losses.append(_mean_over_rows(loss_TR, mask_R))
    loss_T = torch.cat(losses)
    return loss_T.sum() if spec.target == "sum" else loss_T.mean()


def check_shapes(lesson: Lesson, exchange: Exchange) -> None:
    """Raise `InputError` where peers of a lesson disagree in the shape of their logits."""
    shape = exchange.outputs[lesson.learner].logits.shape
    for teacher in lesson.teachers:
        found = exchange.outputs[teacher].logits.shape
        if found != shape:
            raise InputError(
                f"transfer: peers {teacher!r} and {lesson.learner!r} disagree in their outputs: "
                f"logits of shape {tuple(found)} and {tuple(shape)}; predictions can only pass "
                "between peers with the same classes and rows"
            )


def _temperature(
    lesson: Lesson, predictions: Predictions, adaptive: AdaptiveParts
) -> float | Tensor:
    """The temperature of a lesson: a number, or one for each of the learner's rows (R, 1)."""
    if lesson.spec.temperature == "learned":
        logits_RC = predictions.logits(lesson.learner)
        return adaptive.temperature(lesson.entry, lesson.learner, logits_RC)
    return lesson.spec.temperature


def _read(
    predictions: Predictions,
    spec: EdgeSpec,
    peer: str,
    temperature: float | Tensor,
    form: OutputForm,
) -> Tensor:
    if spec.divergence in LOGIT_DISTANCES:
        return predictions.logits(peer)
    log_probs = predictions.log_probs(peer, temperature, form)
    return log_probs if spec.clamp is None else log_probs.clamp_min(math.log(spec.clamp))


def _compared_at_once(teachers_RC: list[Tensor]) -> list[Tensor]:
    """What one call compares with the learner: teachers (T, R, C), or one (R, C).

    All of them where rows are few, which saves calls. Each by itself, and of the learner's shape,
    where rows are pixels: to stack teachers, and to add up what comes back to the learner, costs
    more than the calls there.
    """
    return [stacked(teachers_RC)] if teachers_RC[0].ndim == 2 else teachers_RC


def _divergence(
    spec: EdgeSpec, teacher: Tensor, learner: Tensor, exchange: Exchange, form: OutputForm
) -> Tensor:
    if spec.divergence in LOGIT_DISTANCES:
        return LOGIT_DISTANCES[spec.divergence](teacher, learner)
    divergence = between_probabilities(spec.divergence, teacher, learner, exchange.order(spec))
    if form == "sigmoid":  # labels are independent, so their divergences add up
        divergence = divergence.sum(-1)
    return divergence


def _mean_over_rows(loss_TR: Tensor, mask_R: Tensor | None) -> Tensor:
    flat = loss_TR.flatten(1)
    if mask_R is None:
        return flat.mean(1)
    mask = mask_R.flatten().to(flat.dtype)
    return (flat * mask).sum(1) / mask.sum().clamp_min(1)
