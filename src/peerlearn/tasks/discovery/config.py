"""What the recipe of category discovery may be told."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from peerlearn.data.spec import AugmentChoice
from peerlearn.engine.settings import MOST_EPOCHS, EvaluationSpec, StepSettings
from peerlearn.metrics.catalogue import Metric
from peerlearn.tasks.config import PeerSpec, RecipeConfig
from peerlearn.tasks.discovery.data.spec import DiscoveryDataSpec
from peerlearn.tasks.discovery.metrics.assessment import METRICS
from peerlearn.tasks.discovery.objectives.pairs import DiscoverySpec
from peerlearn.tasks.discovery.objectives.uno import UnoSpec
from peerlearn.validation import Spec


class BranchSpec(PeerSpec):
    """One branch: the last stage of the common network, and how it tells new classes apart."""

    model: str = Field(
        "", description="a name of `peerlearn ls models`; what is left out is the first peer's"
    )
    compares: Literal["pooled", "parts"] | None = Field(
        None, description="takes the place of objective.of for this peer"
    )
    fed_by: str | None = Field(
        None,
        description="peer whose pooled features the heads read instead of their own, as in the "
        "authors' code (parity option)",
    )
    view: int = Field(
        0, ge=0, le=0, description="all peers see the same batches, which are pairs of views"
    )

    @model_validator(mode="after")
    def _parts_are_shared(self) -> Self:
        if self.bayesian is not None:
            raise ValueError(
                "bayesian: branches begin as copies of one trained stage on one trunk, which have "
                "no posteriors here; allowed: null"
            )
        return self


class PretrainingSpec(StepSettings):
    """A stage before the joint one, of the first peer and the trunk."""

    epochs: int = Field(
        0, ge=0, le=MOST_EPOCHS, description="passes over its rows; 0 leaves the stage out"
    )


class SupervisedSpec(PretrainingSpec):
    """The stage on labelled rows."""

    trunk: bool | None = Field(
        None,
        description="whether the trunk trains too; null: only where nothing has trained it before",
    )


class StagesSpec(Spec):
    """The `stages` block: what comes before the joint stage."""

    rotation: PretrainingSpec = Field(
        PretrainingSpec(), description="self-supervised: which way up is an image"
    )
    supervised: SupervisedSpec = Field(
        SupervisedSpec(), description="the known classes, on labelled rows"
    )


class DiscoveryEvaluation(EvaluationSpec):
    """Discovery reports the last epoch: to choose one by truth is what nobody can do.

    Reported are unlabelled training rows and test rows, always; probes of accuracy and of the loss
    of labels say nothing of clusters and are refused.
    """

    select: Literal["last"] = Field(
        "last", description="weights to report: those of the last epoch"
    )
    metric: str = Field("cluster_accuracy", description="shown while training")
    every: int = Field(
        10, ge=1, le=MOST_EPOCHS, description="epochs between measurements while training"
    )
    report: Literal["test"] = Field(
        "test", description="rows to report on: unlabelled training rows, and those of test"
    )

    @model_validator(mode="after")
    def _no_probes(self) -> Self:
        for name in ("flatness", "noise"):
            if getattr(self, name):
                raise ValueError(f"{name}: is not probed where classes are discovered")
        return self


class DiscoveryConfig(RecipeConfig):
    """Configuration of `discovery`."""

    metrics: ClassVar[Sequence[Metric]] = METRICS

    data: DiscoveryDataSpec = Field(
        DiscoveryDataSpec(), description="labelled rows of known classes, unlabelled ones of new"
    )
    peers: dict[str, BranchSpec] = Field(  # type: ignore[assignment]
        min_length=1, description="the branches by name; the first also goes through what is before"
    )
    augment: AugmentChoice = Field(AugmentChoice(), description="random changes of images")
    classes: int | None = Field(
        None,
        ge=1,
        le=1 << 20,
        description="new classes to look for; null: as many as the truth has",
    )
    method: Literal["pairs", "uno", "kmeans"] = Field(
        "pairs",
        description="pairs: pseudo-labels of pairs (see objective); uno: equal shares (see uno); "
        "kmeans: clusters of the features that the stages before have made",
    )
    objective: DiscoverySpec = Field(DiscoverySpec(), description="see DiscoverySpec")
    uno: UnoSpec = Field(UnoSpec(), description="see UnoSpec")
    stages: StagesSpec = Field(StagesSpec(), description="see StagesSpec")
    weights: str | None = Field(
        None,
        description="file of weights of the whole network, trained elsewhere; its classifier is "
        "left aside",
    )
    labelled_per_batch: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="labelled rows in every batch of the joint stage; 0: as drawn",
    )
    copies: int = Field(
        0,
        ge=0,
        le=1000,
        description="A > 0: every image has A fixed pairs of views in the joint stage, and what "
        "the trunk makes of them is computed once and kept in memory; 0: new ones",
    )
    evaluation: DiscoveryEvaluation = Field(
        DiscoveryEvaluation(), description="see DiscoveryEvaluation"
    )

    @property
    def incremental(self) -> bool:
        """Whether one classifier of known and new classes learns beside the others."""
        return self.objective.incremental and self.method == "pairs"

    @field_validator("peers", mode="before")
    @classmethod
    def _first_peer_for_all(cls, given: Any) -> Any:
        """Branches share a trunk, so all of them are of the first one's network."""
        if not isinstance(given, Mapping):
            return given
        kept = {n: {"model": p} if isinstance(p, str) else p for n, p in given.items()}
        present = [p for p in kept.values() if isinstance(p, Mapping)]
        first = {
            k: v for k, v in (present[0] if present else {}).items() if k in ("model", "arguments")
        }
        return {n: {**first, **p} if isinstance(p, Mapping) else p for n, p in kept.items()}

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        first, *others = self.peers
        network = self.peers[first].model, self.peers[first].arguments
        if not network[0]:
            raise ValueError(f"peers.{first}.model: names no network; see `peerlearn ls models`")
        for name in others:
            if (self.peers[name].model, self.peers[name].arguments) != network:
                raise ValueError(
                    f"peers.{name}.model: branches share the trunk of one network, so model and "
                    f"arguments must be those of peer {first!r}; leave them out"
                )
        return self

    @model_validator(mode="after")
    def _new_if_unlabelled(self) -> Self:
        if self.objective.unlabelled_are_new and self.data.generalised:
            source = "overlap" if self.data.overlap else "unlabelled_known"
            raise ValueError(
                "objective.unlabelled_are_new: unlabelled rows may be of known classes here, by "
                f"data.{source}; allowed: 0"
            )
        return self

    @model_validator(mode="after")
    def _one_feeds_another(self) -> Self:
        first = next(iter(self.peers))
        fed = {name: peer.fed_by for name, peer in self.peers.items() if peer.fed_by is not None}
        for name, feeder in fed.items():
            if feeder not in self.peers or feeder == name:
                raise ValueError(
                    f"peers.{name}.fed_by: {feeder!r} is no other peer; allowed: "
                    f"{', '.join(n for n in self.peers if n != name) or 'none'}"
                )
            if name == first:
                raise ValueError(
                    f"peers.{name}.fed_by: the first peer goes through the stages before, so its "
                    "heads read its own features"
                )
            if feeder in fed:
                raise ValueError(
                    f"peers.{name}.fed_by: {feeder!r} is fed by another peer itself; allowed: one "
                    "that reads its own features"
                )
            if self.ema is not None:
                raise ValueError(
                    f"peers.{name}.fed_by: an average of its weights cannot follow those of "
                    f"{feeder!r}; leave out ema or fed_by"
                )
        return self
