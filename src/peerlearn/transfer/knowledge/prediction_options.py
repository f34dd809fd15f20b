"""The options of entries about predictions; see `predictions.py` for what they do."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from peerlearn.transfer.adaptive import WeightingSpec
from peerlearn.transfer.divergences import PROBABILITY_DIVERGENCES
from peerlearn.transfer.gates import GateName
from peerlearn.transfer.knowledge.base import SELF, DivergenceOptions, Rows


class PredictionOptions(DivergenceOptions):
    """Options of entries about predictions."""

    reported = ("temperature", "teacher_temperature", "weighting", "weight", "gate", "target")

    classes: Literal["all", "non_target", "teacher_non_target"] = Field(
        "all",
        description="non_target: the label's class is left out of both sides, and the others sum "
        "to 1; teacher_non_target: of the teacher's alone, so that the learner learns that its "
        "probability is 0. Rows without a label, which have no such class, do not count. A gate "
        "reads what is left",
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
    gate_temperature: float | None = Field(
        None,
        gt=0,
        description="τ at which the gate 'confident' reads teachers; null: that of what is taught. "
        "1 asks how sure they are before they are sharpened (pseudo-labels)",
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
        return self.weighting.by == "class"

    def described(self) -> dict[str, Any]:
        left = {} if self.classes == "all" else {"classes": self.classes}
        return super().described() | {"weighting": self.weighting.by} | left

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.teacher_ema is not None and self.weighting.by != "none":
            yield (
                f"weighting: {self.weighting.by!r} with teacher_ema {self.teacher_ema:g}; weights "
                "are learned by peers, and an average learns nothing; allowed: none"
            )
        if self.teachers == SELF and self.teacher_ema is None:
            yield from self._faults_of_self()
        found = f"with divergence {self.divergence!r}"
        if self.is_own and self.temperature == "learned":
            yield f"temperature: 'learned' {found}, a function of yours; allowed: a number"
        if self.on_logits and not self.is_own and self.temperature != 1:
            yield f"temperature: found {self.temperature} {found}, which has none"
        low, high = self.temperature_range
        if not 0 < low < high:
            yield f"temperature_range: found {low:g} to {high:g}; 0 < low < high"
        if self.on_logits and (taught_at := self.teacher_temperature) is not None:
            yield f"teacher_temperature: found {taught_at:g} {found}, which has none"
        if self.gate_temperature is not None and self.gate != "confident":
            yield (
                f"gate_temperature: found {self.gate_temperature:g} with gate {self.gate!r}, which "
                "does not read how sure a teacher is; allowed with: confident"
            )
        if self.on_logits and self.clamp is not None:
            yield f"clamp: found {self.clamp:g} {found}, which has no probabilities"
        if self.classes != "all":
            yield from self._faults_of_what_is_left()

    def _faults_of_self(self) -> Iterator[str]:
        if self.on_logits:
            yield (
                f"from: {SELF!r} with divergence {self.divergence!r}, which has no temperature; "
                f"allowed: {', '.join(PROBABILITY_DIVERGENCES)}, renyi"
            )
        if self.teacher_temperature in (None, self.temperature):
            yield (
                f"from: {SELF!r} teaches a peer nothing that it does not say already; set a "
                f"teacher_temperature other than {self.temperature}, below it to sharpen, or a "
                "teacher_ema"
            )

    def _faults_of_what_is_left(self) -> Iterator[str]:
        left = f"with classes {self.classes!r}"
        if self.on_logits:
            yield (
                f"classes: {self.classes!r} with divergence {self.divergence!r}, which has no "
                f"probabilities; allowed: {', '.join(PROBABILITY_DIVERGENCES)}, renyi"
            )
        if self.rows == "unlabelled":
            yield (
                f"rows: {self.rows!r} {left}, but these rows have no label whose class could be "
                "left out; allowed: all, labelled"
            )
        if self.gate == "correct":
            yield (
                f"gate: {self.gate!r} {left}, but no teacher can name the label's class where it "
                "is left out; allowed: through, cutoff, linear, confident"
            )
        if self.clamp is not None:
            yield f"clamp: found {self.clamp:g} {left}, which has a probability of 0"
