"""Prediction (response) knowledge: a learner's class probabilities, or logits, against a teacher's.

Shape suffixes: T teachers, R rows (batch, or batch and pixels, or nodes), C classes.
"""

import math
from collections.abc import Collection, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.adaptive import LearnedTemperature, LogitWeighting
from peerlearn.transfer.divergences import (
    LOGIT_DISTANCES,
    SUMMABLE,
    between_probabilities,
    summed_over_others,
)
from peerlearn.transfer.gates import gate_value
from peerlearn.transfer.knowledge.base import SELF, IncomingEdges, Knowledge
from peerlearn.transfer.knowledge.prediction_options import PredictionOptions
from peerlearn.transfer.outputs import (
    BEYOND,
    LEFT_OUT,
    BatchView,
    class_last,
    class_last_log_probabilities,
    in_fp32,
    mean_log_probabilities,
    non_target_log_probabilities,
    stacked,
)
from peerlearn.transfer.own_divergence import OwnDivergence

#: Numbers that all edges of an entry compare, up to which one call for all of them is faster.
FEW = 2**15


class PredictionKnowledge(Knowledge):
    """How far a learner's predictions are from its teachers'."""

    Options = PredictionOptions
    options: PredictionOptions
    travels = "logits"
    provable = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        options = self.options
        self.weightings = nn.ModuleDict()  # by peer
        self.temperatures = nn.ModuleDict()  # by learner
        self.weights = options.weighting.by != "none"
        self.lends = self.weights
        self.ready = not self.weights and options.temperature != "learned"
        owner = id(self) if self.weights else None
        self._on_logits = options.on_logits
        self._compares = owner, options.on_logits, options.classes, options.clamp
        self._everyone = list(self.incoming)
        self._learners = [edges.learner for edges in self.incoming]
        self._pairs = len(self.pairs)
        self._teachers = list(dict.fromkeys(t for edges in self.incoming for t in edges.teachers))
        plain = options.temperature != "learned" and options.target != "ensemble"
        plain = plain and options.detach and options.teachers != SELF and not options.is_own
        self._plain = plain = plain and options.gate_temperature is None
        plain = plain and options.teacher_temperature in (None, options.temperature)
        plain = plain and options.gate == "through" and self.form == "softmax"
        summable = options.divergence in SUMMABLE and options.classes != "teacher_non_target"
        self._summable = plain and len(self._teachers) > 2 and summable
        self.supervised = self.weights and options.weighting.supervision > 0
        self._own = None
        if options.is_own:
            assert options.temperature != "learned", "refused by its options"
            self._own = OwnDivergence(options.divergence, options.temperature, self.field)
        if options.classes != "all" and self.form == "sigmoid":
            raise InputError(
                f"{self.field}.classes: {options.classes!r} leaves out the one label of a row, but "
                "the outputs are multi-label (form 'sigmoid'); allowed: all"
            )

    def prepare(self, view: BatchView) -> None:
        """Make weightings and learned temperatures; `InputError` as for `losses`."""
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
        parts = [part[peer] for part in (self.weightings, self.temperatures) if peer in part]
        return [parameter for part in parts for parameter in part.parameters()]

    def own_losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        """Cross-entropy of weighted logits by peer, which trains the weights and nothing else.

        The divergences alone would train them towards logits on which everyone agrees.
        """
        targets, labelled, losses = view.targets, view.labelled, {}
        for peer in (peer for peer in self.weightings if peer in learners):
            if targets is None or targets.is_floating_point():
                raise InputError(
                    "transfer.weighting: weights learn from class labels; pass targets, or set "
                    "supervision: 0"
                )
            logits_RC = class_last(view.outputs[peer].logits).detach().float().clamp_min(LEFT_OUT)
            mask = torch.ones_like(targets, dtype=torch.bool) if labelled is None else labelled
            weighted_RC = self.weightings[peer](logits_RC) * logits_RC
            loss = F.cross_entropy(weighted_RC[mask], targets[mask], reduction="sum")
            losses[peer] = self.options.weighting.supervision * loss / mask.sum().clamp_min(1)
        return losses

    def losses(self, view: BatchView, learners: Collection[str]) -> dict[str, Tensor]:
        if self.options.gate == "cutoff":
            return {}
        everyone = self._everyone if self.all_open else self.taught(self._learners)
        wanted = [edges for edges in everyone if edges.learner in learners]
        self._check_shapes(view, wanted)
        if not wanted:
            return {}
        # By the entry, not by the learners asked for: a peer's loss is the same to the last bit
        # whoever else is asked for, in this process or in another.
        logits, counts = view.outputs[wanted[0].learner].logits, [len(e.teachers) for e in everyone]
        alike = self._plain and len(set(counts)) == 1
        if alike and logits.ndim == 2 and logits.numel() * sum(counts) <= FEW:
            return self._all_at_once(view, wanted)
        if self._summable and sum(counts) == self._pairs:
            return self._by_sums(view, wanted)
        return {edges.learner: self._loss(edges, view) for edges in wanted}

    def speaks(self, log_probs_RC: Tensor, y_R: Tensor) -> Tensor:
        options, temperature = self.options, self.options.temperature
        if options.gate != "confident":
            return super().speaks(log_probs_RC, y_R)
        if options.teacher_temperature is not None:
            temperature = options.teacher_temperature
        scaled_RC = log_probs_RC / (1.0 if temperature == "learned" else temperature)
        if options.classes != "all":
            read_RC = non_target_log_probabilities(scaled_RC.clamp_min(LEFT_OUT), y_R)
        else:
            read_RC = F.log_softmax(scaled_RC, dim=-1)
        gate = gate_value(options.gate, read_RC, y_R, None, options.gate_threshold)
        assert isinstance(gate, Tensor), "a confident teacher is so row by row"
        return gate > 0

    def _all_at_once(self, view: BatchView, wanted: list[IncomingEdges]) -> dict[str, Tensor]:
        """All edges in one call, where what a call costs outweighs what it computes.

        Shape suffix: I learners.
        """
        options, temperature = self.options, self.options.temperature
        assert temperature != "learned"
        taught_at, teachers = options.teacher_temperature or temperature, len(wanted[0].teachers)
        learner_IRC = torch.stack([self._compared(view, e.learner, temperature) for e in wanted])
        taught = [
            self._compared(view, teacher, taught_at, teaches=True)
            for edges in wanted
            for teacher in edges.teachers
        ]
        teacher_ITRC = torch.stack([each.detach() for each in taught])
        if teachers > 1:
            teacher_ITRC = teacher_ITRC.unflatten(0, (len(wanted), teachers))
            learner_IRC = learner_IRC.unsqueeze(1)
        loss_ITR = self._gated(teacher_ITRC, learner_IRC, temperature, view)
        loss_IT = _mean_over_rows(loss_ITR, self._rows(view))
        if teachers > 1:
            loss_IT = loss_IT.sum(1) if options.target == "sum" else loss_IT.mean(1)
        return dict(zip([edges.learner for edges in wanted], loss_IT.unbind(), strict=True))

    def _by_sums(self, view: BatchView, wanted: list[IncomingEdges]) -> dict[str, Tensor]:
        """One product a peer in place of one a pair; see `summed_over_others`."""
        options, temperature = self.options, self.options.temperature
        assert temperature != "learned"
        log_probs = {
            peer: self._compared(view, peer, temperature)
            for peer in dict.fromkeys([*self._teachers, *(edges.learner for edges in wanted)])
        }
        mask_R, losses = self._rows(view), {}
        counts = {edges.learner: len(edges.teachers) for edges in wanted}
        for learner, sum_R in summed_over_others(
            options.divergence, log_probs, self._teachers, list(counts)
        ):
            scale = temperature**2 / (1 if options.target == "sum" else counts[learner])
            losses[learner] = scale * _mean_over_rows(sum_R.flatten(), mask_R)
        return losses

    def _loss(self, edges: IncomingEdges, view: BatchView) -> Tensor:
        options, learner = self.options, edges.learner
        temperature: float | Tensor  # of each of the learner's rows (R, 1) where it is learned
        if options.temperature == "learned":
            temperature = self.temperatures[learner](self._logits(view, learner))
        else:
            temperature = options.temperature
        taught_at = options.teacher_temperature or temperature
        teachers_RC = self._taught(edges, view, taught_at)
        learner_RC = self._compared(view, learner, temperature)
        asked_RC, asked_at = teachers_RC, options.gate_temperature
        if asked_at is not None and asked_at != taught_at:
            asked_RC = self._taught(edges, view, asked_at)
        mask_R, losses = self._rows(view), []
        both = zip(_compared_at_once(teachers_RC), _compared_at_once(asked_RC), strict=True)
        for teachers, asked in both:
            loss = self._gated(teachers, learner_RC, temperature, view, asked)
            loss_TR = loss if teachers.ndim > learner_RC.ndim else loss.unsqueeze(0)
            losses.append(_mean_over_rows(loss_TR.flatten(1), mask_R))
        loss_T = torch.cat(losses)
        return loss_T.sum() if options.target == "sum" else loss_T.mean()

    def _taught(
        self, edges: IncomingEdges, view: BatchView, temperature: float | Tensor
    ) -> list[Tensor]:
        """What each teacher of a learner says at a temperature, or what all of them say."""
        teachers_RC = [
            self._compared(view, teacher, temperature, teaches=True) for teacher in edges.teachers
        ]
        if self.options.detach:
            teachers_RC = [each.detach() for each in teachers_RC]
        if self.options.target != "ensemble":
            return teachers_RC
        all_TRC = stacked(teachers_RC)
        return [all_TRC.mean(0) if self._on_logits else mean_log_probabilities(all_TRC)]

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
        if isinstance(view.targets, Tensor) and not view.targets.is_floating_point():
            return view.targets
        raise InputError(
            f"{self.field}.classes: {self.options.classes!r} leaves out the class of the label; "
            "pass targets, int64 classes"
        )

    def _compared(
        self, view: BatchView, peer: str, temperature: float | Tensor, teaches: bool = False
    ) -> Tensor:
        """What the divergence compares, once for all entries that compare the same."""
        left_out = {"all": False, "non_target": True, "teacher_non_target": teaches}
        without_label = left_out[self.options.classes]
        if isinstance(temperature, Tensor):  # of one learner's rows: nobody else will ask for it
            return self._read(view, peer, temperature, without_label)
        key = self._compares, peer, temperature, without_label
        return view.once(key, lambda: self._read(view, peer, temperature, without_label))

    def _read(
        self, view: BatchView, peer: str, temperature: float | Tensor, without_label: bool
    ) -> Tensor:
        """Log-probabilities of a peer, or its logits."""
        options, logits_RC = self.options, self._logits(view, peer)
        if self._on_logits:
            return logits_RC
        if without_label:
            return non_target_log_probabilities(logits_RC / temperature, self._labels(view))
        log_probs = class_last_log_probabilities(logits_RC, temperature, self.form)
        return log_probs if options.clamp is None else log_probs.clamp_min(math.log(options.clamp))

    def _logits(self, view: BatchView, peer: str) -> Tensor:
        """Weighted logits of a peer in fp32, class dimension last."""
        logits_RC = class_last(in_fp32(view.outputs[peer].logits))
        if self.weights or self.options.temperature == "learned":
            # What is learned there has 0 · z in its gradient, of a masked class too.
            logits_RC = logits_RC.clamp_min(LEFT_OUT)
        if not self.weights:
            return logits_RC
        key = "weighted", id(self), peer
        return view.once(key, lambda: self.weightings[peer](logits_RC) * logits_RC)

    def _gated(
        self,
        teachers: Tensor,
        learner: Tensor,
        temperature: float | Tensor,
        view: BatchView,
        asked: Tensor | None = None,
    ) -> Tensor:
        """The divergence of each row, times τ² and what the gate lets through.

        The gate reads `asked`, at its own temperature; None: what is taught.
        """
        options = self.options
        if self._own is not None:
            loss, temperature = self._own(teachers, learner), 1
        elif self._on_logits:
            loss = LOGIT_DISTANCES[options.divergence](teachers, learner)
        else:
            order = None if options.alpha is None else options.order(view)
            loss = between_probabilities(options.divergence, teachers, learner, order)
            if self.form == "sigmoid":  # labels are independent, so their divergences add up
                loss = loss.sum(-1)
        # Gradients shrink with 1/τ²; the factor keeps weights comparable (Hinton et al. 2015).
        if isinstance(temperature, Tensor):
            loss = loss * temperature[..., 0] ** 2
        elif temperature != 1:
            loss = loss * temperature**2
        if options.gate == "through":
            return loss
        read: Tensor | None = teachers if asked is None else asked
        if self._on_logits or self.form == "sigmoid":
            read = None
        gate, threshold = options.gate, options.gate_threshold
        return loss * gate_value(gate, read, view.targets, view.progress, threshold)


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
    """The mean of the last dimension over the rows that count, 0 where none does.

    Infinite where a learner masks a class that its teacher holds possible.
    """
    if mask_R is None:
        mean_T = loss_TR.mean(-1)
    else:
        mask = mask_R.flatten().to(loss_TR.dtype)
        mean_T = (loss_TR * mask).sum(-1) / mask.sum().clamp_min(1)
    mean_T.data.masked_fill_(mean_T > BEYOND, math.inf)  # a value, to be told; gradients stay
    return mean_T
