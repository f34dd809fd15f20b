"""The keys that every recipe understands."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from peerlearn.engine.settings import PeerSettings, TrainingSpec
from peerlearn.errors import InputError
from peerlearn.importing import code_in, trusting
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue, Metric
from peerlearn.metrics.own import check_own
from peerlearn.models.bayesian.options import RHO, BayesianSpec
from peerlearn.names import check_names
from peerlearn.transfer.spec import TransferSpec
from peerlearn.validation import short_form, validated

#: Keys of `data` that may say `seed`: every seed of a comparison then has a split of its own.
SPLIT_CHOICES = ("split_seed", "split_index", "fold_index")


class PeerSpec(PeerSettings):
    """One peer: its network, and what it does its own way."""

    model: str = Field(
        description="a name of `peerlearn ls models`, timm:NAME, or python:package.module:f"
    )
    arguments: dict[str, Any] = Field({}, description="keyword arguments of the model")

    bayesian: BayesianSpec | None = Field(
        None,
        description="posteriors around the network's weights; all or last alone say which layers, "
        "null: none. σ is stepped by `groups`, under '*_rho': by Adam, where that does not say",
    )

    _model_alone = short_form("model")

    @model_validator(mode="before")
    @classmethod
    def _widths_have_steps_of_their_own(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("bayesian") in (None, "none"):
            return given | {"bayesian": None} if isinstance(given, dict) else given
        groups, spec = given.get("groups") or {}, given["bayesian"]
        if isinstance(spec, Mapping) and spec.get("posterior", "gaussian") != "gaussian":
            return given
        if not isinstance(groups, Mapping) or not isinstance(groups.get(RHO, {}), Mapping):
            return given
        # Plain gradient descent at the rate of the means hardly moves σ, whose gradient is small.
        own = {"optimiser": "adam", "lr": 0.01, **groups.get(RHO, {})}
        return {**given, "groups": {**groups, RHO: own}}


class RecipeConfig(TrainingSpec):
    """The keys that every recipe understands, beside those of training itself."""

    recipe: str = Field(description="name of the recipe")
    seed: int = Field(
        0, ge=0, lt=1 << 63, description="key of initial weights, batches and dropout"
    )
    peers: dict[str, PeerSpec] = Field(min_length=1, description="the networks by name")
    transfer: TransferSpec = Field(TransferSpec(), description="who teaches whom; see TransferSpec")
    arm: str | None = Field(None, description="named overrides to apply; None: the first arm")
    arms: dict[str, dict[str, Any] | None] = Field(
        {}, description="named overrides that `compare` sets against each other"
    )

    if TYPE_CHECKING:  # every task has its own
        data: Any
        objective: Any

    metrics: ClassVar[Sequence[Metric]] = CLASSIFICATION
    fits_afterwards: ClassVar[bool] = False  # posteriors, when training is over
    reads_other_rows: ClassVar[bool] = False  # whether such keys have a meaning as `evaluation.ood`

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        own = self.evaluation.metrics
        if own and self.metrics is not CLASSIFICATION:
            raise ValueError(
                f"evaluation.metrics: found {own[0].function!r}, which is for rows, nodes or "
                f"graphs that are classified; recipe {self.recipe!r} measures something else"
            )
        others = {"evaluation.ood": self.evaluation.ood, "transport.public": self.transport.public}
        for key, found in others.items():
            if found and not self.reads_other_rows:
                name = found if isinstance(found, str) else found[0]
                raise ValueError(
                    f"{key}: found {name!r}, but it is for images and vectors that are classified; "
                    f"recipe {self.recipe!r} reads something else"
                )
        check_own(own, self.metrics)
        self.measured.selecting(self.evaluation.metric, f"recipe {self.recipe!r}")
        return self

    @model_validator(mode="after")
    def _posteriors_are_fitted(self) -> Self:
        for name, peer in self.peers.items():
            afterwards = peer.bayesian is not None and peer.bayesian.posterior == "laplace"
            if afterwards and not self.fits_afterwards:
                raise ValueError(
                    f"peers.{name}.bayesian.posterior: 'laplace' is fitted after training, by "
                    f"recipe 'bayesian' alone, not {self.recipe!r}; allowed: gaussian, dropout"
                )
        return self

    @property
    def measured(self) -> Catalogue:
        """All that its runs measure, functions of the user's included."""
        return Catalogue([*self.metrics, *self.own_metrics])

    @property
    def own_metrics(self) -> list[Metric]:
        """Those that functions of the user's give."""
        return [own.metric for own in self.evaluation.metrics]

    @model_validator(mode="after")
    def _names_are_parts_of_paths(self) -> Self:
        check_names(self.arms, "arms", "arm")
        check_names(self.peers, "peers", "peer")
        return self

    @model_validator(mode="before")
    @classmethod
    def _splits_by_seed(cls, given: Any) -> Any:
        data = given.get("data") if isinstance(given, Mapping) else None
        if not isinstance(data, Mapping):
            return given
        named = {key: given.get("seed", 0) for key in SPLIT_CHOICES if data.get(key) == "seed"}
        return {**given, "data": {**data, **named}}

    @field_validator("peers", mode="before")
    @classmethod
    def _null_removes(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {name: peer for name, peer in given.items() if peer is not None}
        return given

    @property
    def views(self) -> int:
        """How many views of every batch the peers, and averages of them, read between them."""
        averaged = [entry.teacher_view or 0 for entry in self.transfer.entries()]
        return 1 + max([*averaged, *(peer.view for peer in self.peers.values())])

    def dump(self) -> dict[str, Any]:
        """The resolved configuration as plain values, readable as a recipe file again."""
        # Not by way of a JSON text, which has no place for names of files that are not UTF-8.
        return self.model_dump(mode="json", by_alias=True)

    def trains(self) -> dict[str, Any]:
        """What decides the training: equal for two arms that train the same.

        Where every learner has one teacher, its `target` is that teacher however targets are made.
        """
        decides = {key: value for key, value in self.dump().items() if key not in ("arm", "arms")}
        if len(self.peers) <= 2 and "self" not in json.dumps(decides["transfer"]):
            decides["transfer"] = _without_target(decides["transfer"])
        return decides

    def completed(self, resolved: dict[str, Any]) -> dict[str, Any]:
        """A configuration that an older version resolved, with the options that came since.

        One that is not valid any more is returned as it is, and one that names code which this one
        does not.
        """
        try:
            with trusting(code_in(self.dump()).values()):
                return validated(type(self), as_meant(resolved)).dump()
        except InputError:
            return resolved


def as_meant(resolved: dict[str, Any]) -> dict[str, Any]:
    """A configuration that a run wrote, with what it meant before there was an option for it.

    Its default is for runs to come: all validation rows used to be taken, however few labels
    training had.
    """
    data = resolved.get("data")
    if not isinstance(data, Mapping) or data.get("labels") is None or "val_labels" in data:
        return resolved
    return {**resolved, "data": {**data, "val_labels": "all"}}


def _without_target(block: Any) -> Any:
    if isinstance(block, list):
        return [_without_target(entry) for entry in block]
    if not isinstance(block, dict):
        return block
    return {key: _without_target(value) for key, value in block.items() if key != "target"}
