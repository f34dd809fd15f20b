"""What a configuration may say about graph data."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class GraphDataSpec(BaseModel):
    """The `data` block of a graph recipe. A name alone is a short form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "digits-knn", description="a graph data set of `peerlearn ls data`, or a path"
    )
    train_size: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="training nodes or graphs to keep, as many of each class as possible; nodes "
        "that are left out stay in the graph",
    )
    labels: Annotated[int, Field(ge=1)] | None = Field(
        None, description="training labels to keep; other nodes and graphs stay, unlabelled"
    )
    split: Literal["public", "random"] = Field(
        "public",
        description="the split that the data come with, or one drawn with split_seed",
    )
    split_index: int = Field(
        0, ge=0, description="which one, where the data hold several splits; seed: that of the run"
    )
    fold_index: int = Field(
        0, ge=0, description="the fold that is the test set (graph tasks); seed: that of the run"
    )
    labels_per_class: int = Field(
        20, ge=1, description="training nodes of each class in a random split (node tasks)"
    )
    val_per_class: int = Field(
        30, ge=1, description="validation nodes of each class in a random split (node tasks)"
    )
    val_size: float = Field(
        0.1, gt=0, description="held out of train where the data has no val: a fraction, or a count"
    )
    split_seed: int = Field(0, ge=0, description="seed of every choice of nodes or graphs")
    directed: Literal["keep", "symmetric"] = Field(
        "keep", description="edges as they are given, or each of them in both directions"
    )
    features: Literal["auto", "given", "label", "degree"] = Field(
        "auto",
        description="x, one-hot node labels, one-hot in-degrees; auto: what the data have",
    )
    row_normalise: Literal["auto"] | bool = Field(
        "auto", description="divide each row of x by its sum (auto: where x holds only 0 and 1)"
    )
    root: str | None = Field(
        None, description="folder of named data sets; default $PEERLEARN_DATA, ~/.cache/peerlearn"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @field_validator("val_size")
    @classmethod
    def _fraction_or_count(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"{value} is neither a fraction below 1 nor a whole number")
        return value
