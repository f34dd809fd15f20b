"""Prediction (response) knowledge: a learner's class probabilities, or logits, against a teacher's.

Shape suffixes: T teachers, R rows (batch, or batch and pixels, or nodes), C classes.
"""

import math
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.divergences import (
    LOGIT_DISTANCES,
    PROBABILITY_DIVERGENCES,
    between_probabilities,
)
from peerlearn.transfer.gates import GateName, gate_value
from peerlearn.transfer.knowledge.base import (
    SELF,
    DivergenceOptions,
    IncomingEdges,
    Knowledge,
    Rows,
)
from peerlearn.transfer.outputs import (
    BatchView,
    class_last,
    class_last_log_probabilities,
    in_fp32,
    mean_log_probabilities,
    non_target_log_probabilities,
    stacked,
)
from peerlearn.transfer.temperature import LearnedTemperature
from peerlearn.transfer.weighting import LogitWeighting, WeightingSpec


class PredictionOptions(DivergenceOptions):
    """Options of entries about predictions."""

    classes: Literal["all", "non_target"] = Field(
        "all",
        description="non_target: the label's class is left out of both sides, and the others sum "
        "to 1; rows without a label, which have no such class, do not count. A gate reads what is "
        "left",
    )
    clamp: float | None = Field(
        None, gt=0, lt=1, description="least probability the divergence sees (parity option)"
    )
    temperature: Annotated[float, Field(gt=0)] | Literal["learned"] = Field(
        1.0,
        description="τ of both sides; the loss is scaled by τ². learned: one for each row. Of "
        "relations 0.07 by default, and the loss is not scaled",
    )
    teacher_temperature: float | None = Field(
        None,
        gt=0,
        description="τ of the teacher's side alone, where it differs; below the learner's it "
        "sharpens what is taught",
    )
    temperature_range: tuple[float, float] = Field(
        (1.0, 4.0), description="bounds of a learned temperature"
    )
    weighting: WeightingSpec = Field(
        WeightingSpec(), description="adaptive logit weighting of both sides; see WeightingSpec"
    )
    gate: GateName = Field("through", description="which rows pass")
    gate_threshold: float = Field(0.9, gt=0, le=1, description="confidence that 'confident' asks")
    rows: Rows = Field(
        "all",
        description="rows of the batch the entry averages over; relations remember no others",
    )

    @property
    def fixed_rows(self) -> bool:
        """Whether what the entry learns belongs to the rows of one batch, as a whole graph's."""
        return self.weighting.by == "class"

    def described(self) -> dict[str, Any]:
        """What the edges teach and how, as flat values for reports."""
        return {
            "knowledge": self.knowledge,
            "divergence": self.named_divergence,
            "temperature": self.temperature,
            "teacher_temperature": self.teacher_temperature,
            "weighting": self.weighting.by,
            "weight": self.weight_schedule.describe(self.weight),
            "gate": self.gate,
            "target": self.target,
        } | ({} if self.classes == "all" else {"classes": self.classes})

    @model_validator(mode="after")
    def _self_has_something_to_teach(self) -> "PredictionOptions":
        if self.teachers != SELF:
            return self
        if self.on_logits:
            raise ValueError(
                f"from: {SELF!r} with divergence {self.divergence!r}, which has no temperature; "
                f"allowed: {', '.join(PROBABILITY_DIVERGENCES)}, renyi"
            )
        if self.teacher_temperature in (None, self.temperature):
            raise ValueError(
                f"from: {SELF!r} teaches a peer nothing that it does not say already; set a "
                f"teacher_temperature other than {self.temperature}, below it to sharpen"
            )
        return self

    @model_validator(mode="after")
    def _options_where_they_act(self) -> "PredictionOptions":
        found = f"with divergence {self.divergence!r}"
        if self.on_logits and self.temperature != 1:
            raise ValueError(f"temperature: found {self.temperature} {found}, which has none")
        low, high = self.temperature_range
        if not 0 < low < high:
            raise ValueError(f"temperature_range: found {low:g} to {high:g}; 0 < low < high")
        if self.on_logits and self.teacher_temperature is not None:
            raise ValueError(
                f"teacher_temperature: found {self.teacher_temperature:g} {found}, which has none"
            )
        if self.on_logits and self.clamp is not None:
            raise ValueError(f"clamp: found {self.clamp:g} {found}, which has no probabilities")
        return self

    @model_validator(mode="after")
    def _what_is_left_of_classes_can_be_compared(self) -> "PredictionOptions":
        left = f"with classes {self.classes!r}"
        if self.classes == "all":
            return self
        if self.on_logits:
            raise ValueError(
                f"classes: {self.classes!r} with divergence {self.divergence!r}, which has no "
                f"probabilities; allowed: {', '.join(PROBABILITY_DIVERGENCES)}, renyi"
            )
        if self.rows == "unlabelled":
            raise ValueError(
                f"rows: {self.rows!r} {left}, but these rows have no label whose class could be "
                "left out; allowed: all, labelled"
            )
        if self.gate == "correct":
            raise ValueError(
                f"gate: {self.gate!r} {left}, but no teacher can name the label's class where it "
                "is left out; allowed: through, cutoff, linear, confident"
            )
        if self.clamp is not None:
            raise ValueError(f"clamp: found {self.clamp:g} {left}, which has a probability of 0")
        return self


class PredictionKnowledge(Knowledge):
    """How far a learner's predictions are from its teachers'."""

    Options = PredictionOptions
    options: PredictionOptions

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        options = self.options
        self.weightings = nn.ModuleDict()  # by peer
        self.temperatures = nn.ModuleDict()  # by learner
        self.weights = options.weighting.by != "none"
        self.travels = self.ready = not self.weights and options.temperature != "learned"
        self.supervised = self.weights and options.weighting.supervision > 0
        if options.classes == "non_target" and self.form == "sigmoid":
            raise InputError(
                f"{self.field}.classes: 'non_target' leaves out the one label of a row, but the "
                "outputs are multi-label (form 'sigmoid'); allowed: all"
            )

    def prepare(self, view: BatchView) -> None:
        """Make weightings and learned temperatures.

        Raises:
            InputError: peers disagree in the shape of their logits.
        """
        self._check_shapes(view, self.incoming)
        for edges in self.incoming:
            logits_RC = class_last(view.outputs[edges.learner].logits)
            classes, device = logits_RC.shape[-1], logits_RC.device
            for peer in (edges.learner, *edges.teachers) if self.weights else ():
                if peer not in self.weightings:
                    rows = logits_RC[..., 0].numel()
                    weighting = LogitWeighting(self.options.weighting, rows, classes)
                    self.weightings[peer] = weighting.to(device)
            if self.options.temperature == "learned":
                temperature = LearnedTemperature(classes, *self.options.temperature_range)
                self.temperatures[edges.learner] = temperature.to(device)
        self.ready = True

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """Of a peer's weighting and of its learned temperature."""
        parts = [part[peer] for part in (self.weightings, self.temperatures) if peer in part]
        return [parameter for part in parts for parameter in part.parameters()]

    def own_losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """Cross-entropy of weighted logits by peer, which trains the weights and nothing else.

        The divergences alone would train them towards logits on which everyone agrees.
        """
        targets, labelled, losses = view.targets, view.labelled, {}
        for peer, weighting in self.weightings.items():
            if peer not in learners:
                continue
            if targets is None or targets.is_floating_point():
                raise InputError(
                    "transfer.weighting: weights learn from class labels; pass targets, or set "
                    "supervision: 0"
                )
            logits_RC = class_last(view.outputs[peer].logits).detach().float()
            mask = torch.ones_like(targets, dtype=torch.bool) if labelled is None else labelled
            weighted_RC = weighting(logits_RC) * logits_RC
            loss = F.cross_entropy(weighted_RC[mask], targets[mask], reduction="sum")
            losses[peer] = self.options.weighting.supervision * loss / mask.sum().clamp_min(1)
        return losses

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """How far each learner's predictions are from its teachers', scalars in fp32.

        Raises:
            InputError: the peers disagree in the shape of their logits.
        """
        if self.options.gate == "cutoff":
            return {}
        wanted = self.wanted(learners)
        self._check_shapes(view, wanted)
        return {edges.learner: self._loss(edges, view) for edges in wanted}

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        options, learner = self.options, edges.learner
        temperature = self._temperature(view, learner)
        taught_at = options.teacher_temperature or temperature
        teachers_RC = [self._said(view, teacher, taught_at) for teacher in edges.teachers]
        if options.detach:
            teachers_RC = [each.detach() for each in teachers_RC]
        learner_RC = self._said(view, learner, temperature)
        if options.target == "ensemble":
            all_TRC = stacked(teachers_RC)
            ensemble = all_TRC.mean(0) if options.on_logits else mean_log_probabilities(all_TRC)
            teachers_RC = [ensemble]
        # Gradients shrink with 1/τ²; the factor keeps weights comparable (Hinton et al. 2015).
        scale = temperature**2 if isinstance(temperature, float) else temperature[..., 0] ** 2
        mask_R, losses = self._rows(view), []
        for teachers in _compared_at_once(teachers_RC):
            loss = self._divergence(teachers, learner_RC, view) * scale
            loss = loss * self._gate(teachers, view)
            loss_TR = loss if teachers.ndim > learner_RC.ndim else loss.unsqueeze(0)
            losses.append(_mean_over_rows(loss_TR, mask_R))
        loss_T = torch.cat(losses)
        return loss_T.sum() if options.target == "sum" else loss_T.mean()

    def _check_shapes(self, view: BatchView, incoming: Collection[IncomingEdges]) -> None:
        for learner, teachers in incoming:
            shape = view.outputs[learner].logits.shape
            for teacher in teachers:
                found = view.outputs[teacher].logits.shape
                if found != shape:
                    raise InputError(
                        f"transfer: peers {teacher!r} and {learner!r} disagree in their outputs: "
                        f"logits of shape {tuple(found)} and {tuple(shape)}; predictions can only "
                        "pass between peers with the same classes and rows"
                    )

    def _rows(self, view: BatchView) -> Tensor | None:
        """The rows that count; None for all of them."""
        mask_R = view.row_mask(self.options.rows)
        if self.options.classes == "all":
            return mask_R
        has_label_R = self._labels(view) >= 0
        if view.labelled is not None:
            has_label_R = has_label_R & view.labelled
        return has_label_R if mask_R is None else has_label_R & mask_R

    def _labels(self, view: BatchView) -> Tensor:
        targets = view.targets
        if not isinstance(targets, Tensor) or targets.is_floating_point():
            raise InputError(
                f"{self.field}.classes: 'non_target' leaves out the class of the label; pass "
                "targets, int64 classes"
            )
        return targets

    def _temperature(self, view: BatchView, learner: str) -> float | Tensor:
        """The temperature of an edge: a number, or one for each of the learner's rows (R, 1)."""
        if self.options.temperature == "learned":
            learned: Tensor = self.temperatures[learner](self._logits(view, learner))
            return learned
        return self.options.temperature

    def _said(self, view: BatchView, peer: str, temperature: float | Tensor) -> Tensor:
        """What the divergence compares: log-probabilities of a peer, or its logits."""
        if self.options.on_logits:
            return self._logits(view, peer)
        clamp, log_probs = self.options.clamp, self._log_probs(view, peer, temperature)
        return log_probs if clamp is None else log_probs.clamp_min(math.log(clamp))

    def _log_probs(self, view: BatchView, peer: str, temperature: float | Tensor) -> Tensor:
        logits_RC = self._logits(view, peer)

        def make() -> Tensor:
            if self.options.classes == "non_target":
                scaled_RC = logits_RC / temperature
                return non_target_log_probabilities(scaled_RC, self._labels(view))
            return class_last_log_probabilities(logits_RC, temperature, self.form)

        if isinstance(temperature, Tensor):  # of one learner's rows: nobody else will ask for it
            return make()
        key = "log-probabilities", self._asker, self.options.classes, peer, temperature
        return view.once(key, make)

    def _logits(self, view: BatchView, peer: str) -> Tensor:
        """Weighted logits of a peer in fp32, class dimension last."""

        def make() -> Tensor:
            logits_RC = class_last(in_fp32(view.outputs[peer].logits))
            if self.weights:
                return self.weightings[peer](logits_RC) * logits_RC
            return logits_RC

        return view.once(("logits", self._asker, peer), make)

    @property
    def _asker(self) -> int | None:
        """Who shares what is computed of a batch: entries that take logits as they are."""
        return id(self) if self.weights else None

    def _divergence(self, teacher: Tensor, learner: Tensor, view: BatchView) -> Tensor:
        options = self.options
        if options.on_logits:
            return LOGIT_DISTANCES[options.divergence](teacher, learner)
        order = options.order(view)
        divergence = between_probabilities(options.divergence, teacher, learner, order)
        # Labels of the sigmoid form are independent, so their divergences add up.
        return divergence.sum(-1) if self.form == "sigmoid" else divergence

    def _gate(self, teachers: Tensor, view: BatchView) -> Tensor | float:
        options = self.options
        readable = not options.on_logits and self.form == "softmax"
        return gate_value(
            options.gate,
            teachers if readable else None,
            view.targets,
            view.progress,
            options.gate_threshold,
        )


def _compared_at_once(teachers_RC: list[Tensor]) -> Iterator[Tensor]:
    """What one call compares with the learner: teachers (T, R, C), or one (R, C).

    All of them where rows are few, which saves calls. Each by itself, and of the learner's shape,
    where rows are pixels: to stack teachers, and to add up what comes back to the learner, costs
    more than the calls there.
    """
    if teachers_RC[0].ndim == 2:
        yield stacked(teachers_RC)
    else:
        yield from teachers_RC


def _mean_over_rows(loss_TR: Tensor, mask_R: Tensor | None) -> Tensor:
    flat = loss_TR.flatten(1)
    if mask_R is None:
        return flat.mean(1)
    mask = mask_R.flatten().to(flat.dtype)
    return (flat * mask).sum(1) / mask.sum().clamp_min(1)
