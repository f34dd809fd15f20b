"""The typed configuration of a transfer graph.

Short forms: `"predictions: kl"` (every ordered pair, Deep Mutual Learning), `"features: hint"`,
`"relations: symmetric_kl"`, `"none"`, or a mapping whose fields hold for every edge. `edges` lists
entries of their own; what an entry leaves out it takes from the block of its knowledge
(`predictions`, `features`, `relations`), and what that leaves out from the mapping around it.
Only the divergence and the temperature of predictions are never those of relations: similarities
lie between -1 and 1, logits anywhere. Around edges they are meant for those of its `knowledge`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from peerlearn.errors import unknown_name
from peerlearn.transfer.divergences import (
    DIVERGENCE_NAMES,
    LOGIT_DISTANCES,
    PROBABILITY_DIVERGENCES,
)
from peerlearn.transfer.features import LAST, FeatureLossName
from peerlearn.transfer.gates import GateName
from peerlearn.transfer.schedules import Schedule
from peerlearn.transfer.weighting import WeightingSpec
from peerlearn.validation import explain

DivergenceName = Literal[DIVERGENCE_NAMES]  # type: ignore[valid-type]
KNOWLEDGE = ("predictions", "features", "relations")
#: Defaults of a knowledge that are not those of the fields.
DEFAULTS_OF = {"relations": {"divergence": "symmetric_kl", "temperature": 0.07}}


class LayerPair(BaseModel):
    """The `layer` of an edge about features or relations. One name alone holds for both peers."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    teacher: str = Field(LAST, alias="from", description="layer of the teaching peer")
    learner: str = Field(LAST, alias="to", description="layer of the learning peer")

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, given: Any) -> Any:
        return {"from": given, "to": given} if isinstance(given, str) else given

    def described(self) -> str:
        """One name, or two with an arrow between them."""
        if self.teacher == self.learner:
            return self.teacher
        return f"{self.teacher} → {self.learner}"


class EdgeFields(BaseModel):
    """What can be said about edges, of one entry or of a whole graph."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    teachers: str | list[str] = Field(
        "all",
        alias="from",
        description="teaching peers: 'all', a name or a list of names; 'self': every learner "
        "itself, by its own predictions at a teacher_temperature other than its temperature",
    )
    learners: str | list[str] = Field(
        "all", alias="to", description="learning peers: 'all', a name or a list of names"
    )
    knowledge: Literal[KNOWLEDGE] = Field(  # type: ignore[valid-type]
        "predictions", description="what is transferred"
    )
    divergence: DivergenceName = Field(
        "kl",
        description="how far the learner is from the teacher; of relations symmetric_kl by default",
    )
    alpha: float | None = Field(None, gt=0, description="order of the Rényi divergence")
    alpha_schedule: Schedule = Field(Schedule(), description="path of alpha to its value")
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
    layer: LayerPair = Field(
        LayerPair(),
        description="features to compare, by the names that the models give them; a name, or "
        "{from: NAME, to: NAME}. last: the last map before pooling, of which relations see the "
        "mean over positions",
    )
    feature_loss: FeatureLossName = Field(
        "hint",
        description="hint: squared difference, through an adapter where channels differ; "
        "attention: of spatial attention maps; similarity: of the rows' likeness to each other",
    )
    memory: int = Field(
        2048, ge=2, description="earlier rows that relations compare a row of the batch with"
    )
    views: Literal[1, 2] = Field(
        1,
        description="2: batches are pairs, one view of all their rows, then another of the same "
        "rows; relations compare the first with its pair too, and remember the second",
    )
    weight: float = Field(1.0, ge=0, description="factor of this entry's loss")
    weight_schedule: Schedule = Field(Schedule(), description="path of the weight to its value")
    gate: GateName = Field("through", description="which rows pass")
    gate_threshold: float = Field(0.9, gt=0, le=1, description="confidence that 'confident' asks")
    rows: Literal["all", "labelled", "unlabelled"] = Field(
        "all",
        description="rows of the batch the entry averages over; relations remember no others",
    )
    detach: bool = Field(True, description="keep the learner's loss from reaching the teacher")
    target: Literal["mean", "sum", "ensemble"] = Field(
        "mean",
        description="mean or sum of the divergences from each teacher, or the divergence from "
        "the teachers' mean probability (DML_e)",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_its_knowledge(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return DEFAULTS_OF.get(str(given.get("knowledge")), {}) | dict(given)


#: In place of the teachers: every learner is its own.
SELF = "self"
#: The field that names the loss of each knowledge.
LOSS_OF = {"predictions": "divergence", "features": "feature_loss", "relations": "divergence"}
#: What relations have in common with predictions by name, but not by value.
SCALE = ("divergence", "alpha", "alpha_schedule", "temperature")
#: Fields that say something about some kinds of knowledge alone.
FIELDS_OF = {
    "predictions": (
        "divergence", "alpha", "alpha_schedule", "clamp", "temperature", "teacher_temperature",
        "temperature_range", "weighting", "gate", "gate_threshold", "rows",
    ),
    "features": ("layer", "feature_loss"),
    "relations": (
        "divergence", "alpha", "alpha_schedule", "temperature", "layer", "memory", "views", "rows",
    ),
}  # fmt: skip


class EdgeSpec(EdgeFields):
    """One entry of a transfer graph: who teaches whom, what, and through which loss.

    The losses of an entry are averaged (or summed) over its teachers; entries add up.
    """

    @model_validator(mode="after")
    def _options_of_its_knowledge(self) -> "EdgeSpec":
        for name in _foreign(self.knowledge):
            if name in self.model_fields_set:
                owners = [repr(kind) for kind, names in FIELDS_OF.items() if name in names]
                raise ValueError(
                    f"{name}: belongs to knowledge {' or '.join(owners)}; this edge has "
                    f"knowledge {self.knowledge!r}"
                )
        if self.knowledge == "features" and self.target == "ensemble":
            raise ValueError(
                "target: 'ensemble' is the mean of probabilities, and this edge has knowledge "
                "'features'; allowed: mean, sum"
            )
        return self

    @model_validator(mode="after")
    def _self_has_something_to_teach(self) -> "EdgeSpec":
        if self.teachers != SELF:
            return self
        if self.knowledge != "predictions":
            raise ValueError(
                f"from: {SELF!r} has its own predictions to learn from, and this edge has "
                f"knowledge {self.knowledge!r}; allowed: predictions"
            )
        if self.divergence in LOGIT_DISTANCES:
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
    def _relations_compare_probabilities(self) -> "EdgeSpec":
        if self.knowledge == "relations" and self.divergence in LOGIT_DISTANCES:
            raise ValueError(
                f"divergence: {self.divergence!r} is between logits, and this edge has knowledge "
                f"'relations'; allowed: {', '.join(PROBABILITY_DIVERGENCES)}, renyi"
            )
        if self.knowledge == "relations" and self.temperature == "learned":
            raise ValueError(
                "temperature: 'learned' reads logits, and this edge has knowledge 'relations'; "
                "allowed: a number > 0"
            )
        return self

    @model_validator(mode="after")
    def _options_where_they_act(self) -> "EdgeSpec":
        renyi, found = self.divergence == "renyi", f"with divergence {self.divergence!r}"
        if renyi and self.alpha is None:
            raise ValueError("alpha: divergence 'renyi' needs its order, a number > 0")
        if not renyi and self.alpha is not None:
            raise ValueError(
                f"alpha: found {self.alpha:g} {found}; the order belongs to 'renyi' alone"
            )
        if not renyi and self.alpha_schedule.kind != "constant":
            raise ValueError(f"alpha_schedule: found {found}; the order belongs to 'renyi' alone")
        if self.divergence in LOGIT_DISTANCES and self.temperature != 1:
            raise ValueError(f"temperature: found {self.temperature} {found}, which has none")
        low, high = self.temperature_range
        if not 0 < low < high:
            raise ValueError(f"temperature_range: found {low:g} to {high:g}; 0 < low < high")
        if self.divergence in LOGIT_DISTANCES and self.teacher_temperature is not None:
            raise ValueError(
                f"teacher_temperature: found {self.teacher_temperature:g} {found}, which has none"
            )
        if self.divergence in LOGIT_DISTANCES and self.clamp is not None:
            raise ValueError(f"clamp: found {self.clamp:g} {found}, which has no probabilities")
        return self

    def described(self) -> dict[str, Any]:
        """What the edge teaches and how, as flat values for reports."""
        weight = self.weight_schedule.describe(self.weight)
        if self.knowledge == "features":
            return {
                "knowledge": self.knowledge,
                "divergence": self.feature_loss,
                "layer": self.layer.described(),
                "weight": weight,
                "target": self.target,
            }
        order = "" if self.alpha is None else f" α={self.alpha_schedule.describe(self.alpha)}"
        if self.knowledge == "relations":
            return {
                "knowledge": self.knowledge,
                "divergence": f"{self.divergence}{order}",
                "layer": self.layer.described(),
                "temperature": self.temperature,
                "memory": self.memory,
                "views": self.views,
                "weight": weight,
                "target": self.target,
            }
        return {
            "knowledge": self.knowledge,
            "divergence": f"{self.divergence}{order}",
            "temperature": self.temperature,
            "teacher_temperature": self.teacher_temperature,
            "weighting": self.weighting.by,
            "weight": weight,
            "gate": self.gate,
            "target": self.target,
        }


class TransferSpec(EdgeFields):
    """A transfer graph: the fields of an entry as defaults, the edges, the order of updates."""

    edges: Literal["all", "none"] | list[dict[str, Any]] = Field(
        "all", description="'all': every ordered pair; 'none': independent peers; or entries"
    )
    predictions: dict[str, Any] = Field(
        {}, description="what entries with this knowledge leave out, before the fields above"
    )
    features: dict[str, Any] = Field({}, description="the same for entries with this knowledge")
    relations: dict[str, Any] = Field({}, description="the same for entries with this knowledge")
    update: Literal["simultaneous", "sequential"] = Field(
        "simultaneous",
        description="simultaneous: targets are the outputs before the step; sequential: a peer "
        "learns from peers that have already stepped",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        if isinstance(given, str):
            try:
                given = yaml.safe_load(given)
            except yaml.YAMLError:
                raise unknown_name(
                    "transfer graph", given, ["none", "predictions: kl"], "transfer"
                ) from None
        if given is None or given == "none":
            return {"edges": "none"}
        if isinstance(given, str):
            raise unknown_name("transfer graph", given, ["none", "predictions: kl"], "transfer")
        if isinstance(given, dict) and len(given) == 1:
            ((knowledge, loss),) = given.items()
            if knowledge in LOSS_OF and isinstance(loss, str):
                return {"knowledge": knowledge, LOSS_OF[knowledge]: loss}
        return given

    @field_validator("edges", mode="before")
    @classmethod
    def _nothing_means_none(cls, given: Any) -> Any:
        return "none" if given is None else given

    @model_validator(mode="after")
    def _entries_hold(self) -> "TransferSpec":
        self.entries()
        return self

    def entries(self) -> list[EdgeSpec]:
        """The entries of the graph, each with its defaults filled in."""
        if self.edges == "none":
            return []
        given: Sequence[dict[str, Any]] = [{}] if self.edges == "all" else self.edges
        made, faults = [], []
        for number, entry in enumerate(given):
            try:
                made.append(EdgeSpec.model_validate(self._shared(entry) | entry))
            except ValidationError as error:
                where = "transfer" if self.edges == "all" else f"transfer.edges.{number}"
                faults += explain(error, EdgeSpec, where)
        if faults:
            raise ValueError("\n".join(faults))
        return made

    def _shared(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What holds for an entry unless it says otherwise."""
        knowledge = str(entry.get("knowledge", self.knowledge))
        foreign = _foreign(knowledge)
        if (knowledge == "relations") != (self.knowledge == "relations"):
            foreign += SCALE
        around = {
            field.alias or name: getattr(self, name)
            for name, field in EdgeFields.model_fields.items()
            if name in self.model_fields_set and name not in foreign
        }
        return around | (getattr(self, knowledge) if knowledge in KNOWLEDGE else {})


def _foreign(knowledge: str) -> list[str]:
    """Fields that say nothing about a kind of knowledge."""
    own = FIELDS_OF.get(knowledge, ())
    return [name for names in FIELDS_OF.values() for name in names if name not in own]
