"""GraphSAGE (Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs",
NeurIPS 2017, arXiv:1706.02216)."""

from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.models.arguments import passing_on
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.features import Projection, States
from peerlearn.tasks.graphs.models.network import Operator, OperatorNetwork
from peerlearn.tasks.graphs.models.propagation import received


class SAGEOperator(Operator):
    """h'_v = W_own h_v + W_neighbours mean_u h_u + b, over the nodes u that send to v.

    The mean is taken of what is projected, which has fewer columns and is the same.

    Shapes:
        h: (N, columns_in); h': (N, columns)
    """

    def __init__(self, columns_in: int, columns: int) -> None:
        super().__init__()
        self.own = Projection(columns_in, columns)
        self.neighbours = Projection(columns_in, columns)
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, graph: Graph, h: States) -> Tensor:
        own = self.own(h) + self.bias
        return own + received(graph, h, "mean", self.neighbours)


@passing_on(OperatorNetwork)
def sage(features: int, classes: int, **others: Any) -> OperatorNetwork:
    """GraphSAGE: a node and the mean of its neighbours, weighed apart (Hamilton et al. 2017).

    Args:
        others: see `OperatorNetwork`.
    """
    return OperatorNetwork(features, classes, SAGEOperator, **others)
