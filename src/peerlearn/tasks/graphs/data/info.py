"""What a network that was trained on graphs must know of them, so that it works without them."""

from typing import Literal, Self

from peerlearn.data.info import DataInfo
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.encoding import Encoding


class GraphInfo(DataInfo):
    """The classes and the features of a graph data set; `data.json` of a run.

    Attributes:
        task: whether nodes are classified, or graphs.
        encoding: how features are made from arrays.
        graphs, nodes, edges: how many there are.
    """

    task: Literal["node", "graph"]
    encoding: Encoding
    graphs: int
    nodes: int
    edges: int

    @classmethod
    def from_dataset(cls, data: NodeDataset | GraphsDataset) -> Self:
        """What a run keeps of `data`."""
        whole = data.graph if isinstance(data, NodeDataset) else data
        return cls(
            name=data.name,
            classes=data.classes,
            class_names=data.class_names,
            rows={part: len(getattr(data, part)) for part in ("train", "val", "test")},
            task="node" if isinstance(data, NodeDataset) else "graph",
            encoding=data.encoding,
            graphs=1 if isinstance(data, NodeDataset) else len(data),
            nodes=whole.x.shape[0],
            edges=whole.edge_index.shape[1],
        )

    @property
    def num_features(self) -> int:
        """Features of a node."""
        return self.encoding.columns

    @property
    def content(self) -> str:
        whole = "nodes of one graph" if self.task == "node" else f"{self.graphs:,} graphs"
        return f"{whole}, {self.num_features:,} features, {self.edges:,} edges"
