"""A multilayer perceptron on node features: what a graph network teaches, served without edges."""

from typing import Any

import torch
from torch import Tensor

from peerlearn.models.arguments import Count, Rate, passing_on
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.network import LinearOperator, OperatorNetwork
from peerlearn.transfer.outputs import PeerOutput


class GraphMLP(OperatorNetwork):
    """An `OperatorNetwork` that needs no edges, and so also takes the features alone.

    Shapes:
        input: a `Graph`, or dense features (N, F)
    """

    reads_edges = False

    def forward(self, graph: Graph | Tensor) -> PeerOutput:
        if isinstance(graph, Tensor):
            graph = Graph(graph, torch.empty(2, 0, dtype=torch.int64, device=graph.device))
        return super().forward(graph)


@passing_on(GraphMLP, "head")
def graph_mlp(
    features: int, classes: int, *, hidden: Count = 128, dropout: Rate = 0.6, **others: Any
) -> GraphMLP:
    """Multilayer perceptron on node features; edges are not used.

    Args:
        hidden, dropout, others: see `OperatorNetwork`, whose head is an operator.
    """
    return GraphMLP(features, classes, LinearOperator, hidden=hidden, dropout=dropout, **others)
