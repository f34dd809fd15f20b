"""The shapes in which graph data travel: one graph of labelled nodes, or many labelled graphs.

And what a network that was trained on them must know of them, so that it works without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.datasets import NamedClasses, renumbered
from peerlearn.data.info import DataInfo
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.encoding import Encoding
from peerlearn.tasks.graphs.data.graph import Graph, ranges, take_rows

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


class _Divided(NamedClasses):
    """Rows, nodes or graphs, in three splits."""

    def members(self, part: Part) -> Tensor:
        """int64, ascending positions of the rows of a split."""
        members: Tensor = getattr(self, part)
        return members

    def _relabelled(self, places: Sequence[int]) -> Self:
        whole: Any = self
        return replace(whole, y=renumbered(whole.y, places))


@dataclass(frozen=True, eq=False)
class NodeDataset(_Divided):
    """One graph whose nodes are classified.

    Training sees the whole graph, the nodes of val and test included, but only the labels of
    train (the transductive setting of the literature).

    Shapes:
        y: int64 (N,), `UNLABELLED` where a node has no label.
        train, val, test: int64, ascending positions of the labelled nodes of each split.

    Attributes:
        encoding: how the features were made; see `Encoding`.
    """

    name: str
    graph: Graph
    y: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    classes: int
    class_names: tuple[str, ...] = ()
    encoding: Encoding = field(default_factory=Encoding)
    account: Account = EMPTY
    named: bool | None = None

    @property
    def num_features(self) -> int:
        """Features of a node."""
        return self.graph.num_features

    def to(self, device: torch.device | str | None) -> "NodeDataset":
        """The same data with the graph on `device`; what reads it then shares its operators."""
        return replace(self, graph=self.graph.to(device))

    def targets(self, part: Part) -> Tensor:
        """Labels of the nodes of a split, int64 (N,), `UNLABELLED` at all other nodes."""
        nodes = self.members(part)
        targets = torch.full_like(self.y, UNLABELLED)
        targets[nodes] = self.y[nodes]
        return targets

    def rest(self) -> Tensor:
        """Positions of the nodes whose labels training does not see: all those outside train."""
        outside = torch.ones(len(self.y), dtype=torch.bool)
        outside[self.train] = False
        return outside.nonzero()[:, 0]


@dataclass(frozen=True, eq=False)
class GraphsDataset(_Divided):
    """Many graphs, each of them with a label; stored as one disjoint union.

    Shapes:
        x: float32 (N, F), the nodes of all graphs one after the other; dense or sparse CSR.
        edge_index: int64 (2, E) between positions in x, sorted by receiver.
        ptr: int64 (G + 1,); graph g owns the nodes ptr[g] to ptr[g + 1] - 1, at least one.
        y: int64 (G,), `UNLABELLED` where a graph has no label.
        train, val, test: int64, ascending positions of graphs; only train has unlabelled ones.

    Attributes:
        encoding: how the features were made; see `Encoding`.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    ptr: Tensor
    y: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    classes: int
    class_names: tuple[str, ...] = ()
    encoding: Encoding = field(default_factory=Encoding)
    account: Account = EMPTY
    named: bool | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def num_features(self) -> int:
        """Features of a node."""
        return self.x.shape[1]

    @cached_property
    def edge_ptr(self) -> Tensor:
        """int64 (G + 1,); graph g owns the edges edge_ptr[g] to edge_ptr[g + 1] - 1."""
        return torch.searchsorted(self.edge_index[1].contiguous(), self.ptr)

    def select(self, index: Tensor) -> Graph:
        """The disjoint union of the graphs at `index` (int64 (B,)), in its order.

        Nodes keep the order that they have in their graph; `graph_of` counts from 0 to B - 1.
        """
        nodes, edges = self.ptr.diff()[index], self.edge_ptr.diff()[index]
        shift = nodes.cumsum(0) - nodes - self.ptr[index]
        places = ranges(self.edge_ptr[index], edges)
        return Graph(
            take_rows(self.x, ranges(self.ptr[index], nodes)),
            self.edge_index[:, places] + shift.repeat_interleave(edges),
            graph_of=torch.arange(len(index)).repeat_interleave(nodes),
            graphs=len(index),
        )


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
            named=data.named,
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
