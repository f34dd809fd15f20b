"""What the recipes on graphs may be told."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from peerlearn.objectives.base import Classification
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.validation import Spec


class AuxiliarySpec(Spec):
    """The `auxiliary` block: a second task for every peer, whose labels the graph itself gives."""

    task: Literal["none", "degree"] = Field(
        "none",
        description="degree: a second head tells how many edges a node receives, or, where graphs "
        "are classified, how many nodes a graph has",
    )
    weight: float = Field(0.1, ge=0, description="factor of the second head's cross-entropy")
    buckets: int = Field(5, ge=2, le=1000, description="classes of the second head, filled equally")


class GraphConfig(RecipeConfig):
    """What the recipes on graphs have in common."""

    data: GraphDataSpec = Field(GraphDataSpec(), description="which data, and which split")
    objective: Classification = Field(Classification(), description="see Classification")
    auxiliary: AuxiliarySpec = Field(AuxiliarySpec(), description="see AuxiliarySpec")

    @model_validator(mode="after")
    def _one_view(self) -> Self:
        for name, peer in self.peers.items():
            if peer.view:
                raise ValueError(f"peers.{name}.view: {peer.view}; graphs have one view, number 0")
        if self.views > 1:
            found = f"transfer.teacher_view: {self.views - 1}"
            raise ValueError(f"{found}; graphs have one view, number 0")
        return self

    def weights_rows(self) -> bool:
        """Whether an edge has weights that belong to the rows of one batch."""
        return any(entry.fixed_rows for entry in self.transfer.entries())


class NodeConfig(GraphConfig):
    """Configuration of the recipes that classify nodes."""

    fanout: list[Annotated[int, Field(ge=-1, le=1 << 20)]] | None = Field(
        None,
        description="neighbours to sample at each hop, -1 for all, one hop a layer; none: every "
        "step sees the whole graph, and batch_size does not matter",
    )
    unlabelled_per_batch: int = Field(
        0, ge=0, le=1 << 20, description="nodes outside train among the seeds of a sampled batch"
    )

    @model_validator(mode="after")
    def _options_where_they_act(self) -> Self:
        if self.fanout is not None and self.weights_rows():
            raise ValueError(
                "transfer.weighting: 'class' holds a row for every node of the graph, but sampled "
                "batches (fanout) hold some of them; use weighting: sample, or none"
            )
        if self.fanout is None and self.unlabelled_per_batch:
            raise ValueError(
                "unlabelled_per_batch: belongs to sampled batches; give fanout, or leave it out: "
                "the whole graph holds every node"
            )
        return self


class GraphsConfig(GraphConfig):
    """Configuration of the recipe that classifies graphs."""

    labelled_per_batch: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="labelled graphs in every batch where some have no label; 0: as drawn",
    )

    @model_validator(mode="after")
    def _options_where_they_act(self) -> Self:
        if self.weights_rows():
            raise ValueError(
                "transfer.weighting: 'class' needs batches that always hold the same rows, but "
                "batches of graphs differ; use weighting: sample, or none"
            )
        return self
