"""A multilayer perceptron on node features: what a graph network teaches, served without edges."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.data.graphs.graph import Graph
from peerlearn.models.arguments import Count, Rate, passing_on
from peerlearn.models.graphs.features import Projection, States
from peerlearn.models.graphs.network import Operator, OperatorNetwork
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


@passing_on(GraphMLP, "head")
def graph_mlp(
    features: int, classes: int, *, hidden: Count = 128, dropout: Rate = 0.6, **others: Any
) -> GraphMLP:
    """Multilayer perceptron on node features; edges are not used.

    Args:
        hidden, dropout, others: see `OperatorNetwork`, whose head is an operator.
    """
    return GraphMLP(features, classes, NodeOperator, hidden=hidden, dropout=dropout, **others)
