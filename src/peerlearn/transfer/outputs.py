"""What peers say of a batch: the output that every edge, objective and metric reads, the
log-probabilities made of it, and the view of a batch that edges get, now of what moves with time.

Class scores become log-probabilities in fp32 whatever the training precision, because divergences
subtract numbers that differ in the last digits of a 16-bit float.

Pixels' classes stay second in memory, where a softmax over them is several times as fast; what
the functions here give are views of it with the classes last.

Shape suffixes: R rows (batch, or batch and pixels, or nodes), C classes, T teachers.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.validation import Spec, short_form

#: softmax: one class a row. sigmoid: every label on its own (multi-label).
OutputForm = Literal["softmax", "sigmoid"]
ScheduleKind = Literal["constant", "linear", "sigmoid", "cosine", "exponential"]
Made = TypeVar("Made")
#: The logit, or log-probability, of a class that is left out: exp gives 0, and differences of two
#: are 0. Where a network masks a class by a logit of −∞, this stands for it in what is compared.
LEFT_OUT = -1e30
#: Below it a logit is of a class that is masked, weighted or not.
MASKED = -1e20
#: A mean divergence above it is infinite but for `LEFT_OUT`.
BEYOND = 1e12


class PeerOutput(NamedTuple):
    """Output of one peer for one batch.

    Shapes:
        logits: (batch, classes) for classification, (batch, classes, height, width) for
            segmentation, (nodes, classes) for graphs.
        features: intermediate maps by name, first dimension the batch, such as `stage2` of
            shape (batch, channels, height, width) or `pooled` of shape (batch, channels).
        samples: logits of a stochastic peer, (samples, batch, classes, ...); None of others.
    """

    logits: Tensor
    features: dict[str, Tensor] = {}  # noqa: RUF012 -- a NamedTuple default, never mutated
    samples: Tensor | None = None

    @classmethod
    def of_samples(
        cls, samples: Tensor, features: Mapping[str, Tensor] = {}, form: OutputForm = "softmax"
    ) -> "PeerOutput":
        """What a stochastic peer says: its logits are those of its samples' mean probability.

        Edges, objectives and metrics read `logits`, whose softmax (or sigmoid) is that mean;
        objectives find all samples (S, batch, C, ...) in `samples`, and evaluation in what
        `peerlearn.engine.evaluate.predict` yields.
        """
        return cls(mean_probability_logits(samples, form), dict(features), samples)

    def in_fp32(self) -> "PeerOutput":
        """The same with logits in fp32, classes second in memory too."""
        logits = in_fp32(self.logits)
        return self if logits is self.logits else self._replace(logits=logits)


def in_fp32(logits: Tensor) -> Tensor:
    """See `PeerOutput.in_fp32`; a tensor that is so already comes back as it is."""
    if logits.dtype == torch.float32 and logits.is_contiguous():
        return logits
    return logits.to(torch.float32, memory_format=torch.contiguous_format)


def as_peer_output(raw: Any, peer: str) -> PeerOutput:
    """Read a `PeerOutput`, a tensor of logits, or what holds one.

    That is an object with `.logits`, a mapping with `logits` (or `out`, as torchvision's
    segmentation has it), or a tuple, whose first tensor that is no scalar counts: the scalar before
    it is a loss.

    Raises InputError: `raw` is nothing of these; names the peer and the type found.
    """
    if isinstance(raw, PeerOutput):
        return raw
    logits = getattr(raw, "logits", raw)
    if isinstance(raw, Mapping):
        logits = raw.get("logits", raw.get("out"))
    elif isinstance(logits, tuple):
        logits = next((each for each in logits if isinstance(each, Tensor) and each.ndim), None)
    if isinstance(logits, Tensor):
        return PeerOutput(logits)
    raise InputError(
        f"peer {peer!r}: forward returned {type(raw).__name__}; expected a tensor of logits, "
        "a PeerOutput, an object with .logits, a mapping with 'logits', or a tuple of tensors"
    )


def class_last(logits: Tensor) -> Tensor:
    """The view with the class dimension, second in the field's layouts, at the end."""
    return logits.movedim(1, -1) if logits.ndim > 2 else logits


def class_second(logits_RC: Tensor) -> Tensor:
    """The view with the last dimension back where `class_last` took it from."""
    return logits_RC.movedim(-1, 1) if logits_RC.ndim > 2 else logits_RC


def stacked(predictions_RC: Sequence[Tensor]) -> Tensor:
    """Predictions of several peers, with a new first dimension (T, R, C)."""
    if len(predictions_RC) == 1:
        return predictions_RC[0].unsqueeze(0)
    in_memory = torch.stack([class_second(each) for each in predictions_RC])
    return in_memory.movedim(2, -1) if in_memory.ndim > 3 else in_memory


def log_probabilities(
    logits: Tensor, temperature: float | Tensor = 1.0, form: OutputForm = "softmax"
) -> Tensor:
    """Log-probabilities of logits at a temperature, one for all rows or (R, 1), in fp32.

    Shapes:
        logits: (R, C), or (batch, C, ...) with further dimensions such as pixels.
        result: (R, C) for softmax, class dimension last; (R, C, 2) for sigmoid, where the last
            dimension holds the two outcomes of each label, so that every divergence applies.
    """
    return class_last_log_probabilities(class_last(in_fp32(logits)), temperature, form)


def class_last_log_probabilities(
    logits_RC: Tensor, temperature: float | Tensor, form: OutputForm
) -> Tensor:
    """`log_probabilities` of logits in fp32 whose classes are last."""
    as_they_are = form == "softmax" and isinstance(temperature, float) and temperature == 1
    scaled_RC = logits_RC if as_they_are else logits_RC / temperature
    if form == "softmax":
        return class_last(masked_at_a_number(F.log_softmax(class_second(scaled_RC), dim=1)))
    outcomes = torch.stack([F.logsigmoid(scaled_RC), F.logsigmoid(-scaled_RC)], dim=-1)
    return masked_at_a_number(outcomes)


def masked_at_a_number(log_probs: Tensor) -> Tensor:
    """Log-probabilities just made, `LEFT_OUT` in place of −∞: what a class is that nobody allows.

    So 0 · (−∞) is 0 in whatever compares two of them, and gradients stay finite.
    """
    # In place and unseen by autograd, for the gradient of a softmax is the same at both: to copy
    # every log-probability of a step for the few that are masked would cost a pass over memory.
    log_probs.data.clamp_min_(LEFT_OUT)
    return log_probs


def non_target_log_probabilities(logits_RC: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities among the classes other than a row's label, whose own is as good as 0.

    `log (exp z_c / Σ_{m ≠ y} exp z_m)` for c ≠ y: the non-target part of Decoupled Knowledge
    Distillation (Zhao et al. 2022). The label's logit gets no gradient. Its log-probability is
    finite, so that no divergence meets ∞ − ∞; its terms vanish. Of a row with label −1 the result
    means nothing.

    Shapes:
        labels: int64 (R,), or (R, C) where a row has several, 1 at each; not all classes.
    """
    if logits_RC.shape[-1] < 3:
        raise InputError(
            f"transfer.classes: 'non_target' leaves one of {logits_RC.shape[-1]} classes, about "
            "which there is nothing to teach; it needs at least 3"
        )
    if labels.is_floating_point():
        others_RC = class_second(logits_RC.masked_fill(labels > 0, LEFT_OUT))
    else:
        own_R1 = labels.clamp_min(0).unsqueeze(1)
        others_RC = class_second(logits_RC).scatter(1, own_R1, LEFT_OUT)
    return class_last(masked_at_a_number(F.log_softmax(others_RC, dim=1)))


def mean_log_probabilities(log_probs_TRC: Tensor) -> Tensor:
    """Log of the mean probability over the first dimension: the ensemble's prediction."""
    return torch.logsumexp(log_probs_TRC, dim=0) - math.log(len(log_probs_TRC))


def mean_probability_logits(samples: Tensor, form: OutputForm = "softmax") -> Tensor:
    """Logits (batch, C, ...) in fp32 of the mean probability of `samples` (S, batch, C, ...)."""
    samples = samples.float()
    if form == "softmax":
        return mean_log_probabilities(masked_at_a_number(F.log_softmax(samples, dim=2)))
    return F.logsigmoid(samples).logsumexp(0) - F.logsigmoid(-samples).logsumexp(0)


class Schedule(Spec):
    """How a weight or an order moves from `start` to its configured value while a cohort trains.

    Time is the fraction of the stage that is done, so that a schedule keeps its shape when the
    number of epochs changes. Kinds, with r the elapsed fraction of the ramp:
        constant: the value, from the first step.
        linear: `start + r (value − start)`.
        sigmoid: `start + (value − start) exp(−5 (1 − r)²)` (Laine & Aila 2017).
        cosine: `start + (value − start) (1 − cos πr) / 2`.
        exponential: `start (value / start)^r`; both ends must be positive.
    """

    kind: ScheduleKind = "constant"
    start: float = Field(0.0, ge=0, description="quantity before and at the beginning of the ramp")
    begin: float = Field(0.0, ge=0, lt=1, description="fraction of the stage before the ramp")
    over: float = Field(1.0, gt=0, le=1, description="length of the ramp, fraction of the stage")

    _kind_alone = short_form("kind")

    @model_validator(mode="after")
    def _positive_start(self) -> "Schedule":
        if self.kind == "exponential" and self.start <= 0:
            raise ValueError(f"an exponential schedule needs start > 0, found {self.start}")
        return self

    def at(self, progress: float, value: float) -> float:
        """The quantity when `progress` of the stage is done, on its way to `value`."""
        if self.kind == "constant":
            return value
        r = min(max((progress - self.begin) / self.over, 0.0), 1.0)
        if self.kind == "exponential":
            return self.start * (value / self.start) ** r
        done = {
            "linear": r,
            "sigmoid": math.exp(-5 * (1 - r) ** 2) if progress >= self.begin else 0.0,
            "cosine": (1 - math.cos(math.pi * r)) / 2,
        }[self.kind]
        return self.start + (value - self.start) * done

    def full_at(self, value: float) -> float:
        """The fraction of the stage after which a quantity that grows has its full `value`.

        0 where it is there from the first step, or falls.
        """
        grows = self.kind != "constant" and self.start < value
        return self.begin + self.over if grows else 0.0

    def describe(self, value: float) -> str:
        """A short reading for reports, such as `linear 0 → 1 over 20 %`."""
        if self.kind == "constant":
            return f"{value:g}"
        after = f" after {self.begin:.0%}" if self.begin else ""
        return f"{self.kind} {self.start:g} → {value:g} over {self.over:.0%}{after}"


@dataclass
class BatchView:
    """What edges see of one batch.

    Attributes:
        outputs: of every peer for the same rows.
        targets: labels, read by the gate `correct`; None where there are none.
        labelled: boolean mask over rows, read where `rows` is not `all`; None: all are labelled.
        progress: finished fraction of the stage, needed where a schedule moves.
        peers: the networks themselves, for kinds of knowledge that compare more than outputs.
    """

    outputs: Mapping[str, PeerOutput]
    targets: Tensor | None = None
    labelled: Tensor | None = None
    progress: float | None = None
    peers: Mapping[str, nn.Module] | nn.ModuleDict = field(default_factory=dict)
    _made: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, computed for the first entry of the graph that asks for `key`."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def at(self, schedule: Schedule, value: float, name: str) -> float:
        """A scheduled quantity now. Raises InputError: it moves, and progress is not known."""
        if schedule.kind == "constant":
            return value
        if self.progress is None:
            raise InputError(
                f"transfer.{name}_schedule follows the training: pass progress=, the finished "
                "fraction from 0 to 1"
            )
        return schedule.at(self.progress, value)

    def row_mask(self, rows: str) -> Tensor | None:
        """The rows that `all`, `labelled` or `unlabelled` means; None for all of them.

        Raises InputError: unlabelled rows are asked for, and nothing marks them.
        """
        if rows == "all":
            return None
        if rows == "labelled":
            return self.labelled
        if self.labelled is None:
            raise InputError("transfer.rows: 'unlabelled' needs targets that mark unlabelled rows")
        return ~self.labelled
