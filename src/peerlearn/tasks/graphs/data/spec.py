"""What a configuration may say about graph data."""

from typing import Literal

from pydantic import Field

from peerlearn.data.spec import CountedClassesSpec, NamedDataSpec


class GraphDataSpec(NamedDataSpec, CountedClassesSpec):
    """The `data` block of a graph recipe, whose rows are nodes or graphs.

    Nodes that `train_size` leaves out stay in the graph.
    """

    name: str = Field(
        "digits-knn", description="a graph data set of `peerlearn ls data`, or a path"
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
