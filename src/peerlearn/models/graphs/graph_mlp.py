"""A multilayer perceptron on node features: what a graph network teaches, served without edges."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.data.graphs.graph import Graph
from peerlearn.models.arguments import Count, Rate
from peerlearn.models.graphs.features import Projection, States
from peerlearn.models.graphs.network import Norm, Operator, OperatorNetwork
from peerlearn.models.graphs.readout import Readout
from peerlearn.transfer.outputs import PeerOutput


class NodeOperator(Operator):
    """H' = H W + b: every node by itself.

    Shapes:
        H: (N, columns_in); H': (N, columns)
    """

    def __init__(self, columns_in: int, columns: int) -> None:
        super().__init__()
        self.projection = Projection(columns_in, columns)
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, graph: Graph, h: States) -> Tensor:
        return self.projection(h) + self.bias


class _Nodes(NamedTuple):
    """Dense features where a graph is expected."""

    x: Tensor
    sparse_features: bool = False
    graph_of: None = None
    seeds: None = None


class GraphMLP(OperatorNetwork):
    """An `OperatorNetwork` that needs no edges, and so also takes the features alone.

    Shapes:
        input: a `Graph`, or dense features (N, F)
    """

    reads_edges = False

    def forward(self, graph: Graph | Tensor) -> PeerOutput:
        return super().forward(_Nodes(graph) if isinstance(graph, Tensor) else graph)  # type: ignore[arg-type]


def graph_mlp(
    features: int,
    classes: int,
    *,
    hidden: Count = 128,
    layers: Count = 2,
    dropout: Rate = 0.6,
    input_dropout: Rate | None = None,
    norm: Norm = "none",
    readout: Readout = "mean",
) -> GraphMLP:
    """Multilayer perceptron on node features; edges are not used.

    Args:
        hidden: units of every hidden layer.
        layers: linear maps in all.
        dropout: rate before every map but the first.
        input_dropout: rate on the node features; none given: `dropout`.
        norm: `batch` normalises every hidden layer.
        readout: `mean`, `sum` or `max` over the nodes of a graph, where graphs are classified.
    """
    return GraphMLP(
        features,
        classes,
        NodeOperator,
        width=hidden,
        layers=layers,
        head="operator",
        dropout=dropout,
        input_dropout=input_dropout,
        norm=norm,
        readout=readout,
    )
