"""GraphSAGE (Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs",
NeurIPS 2017, arXiv:1706.02216)."""

import torch
from torch import Tensor, nn

from peerlearn.data.graphs.graph import Graph
from peerlearn.models.arguments import Count, Rate
from peerlearn.models.graphs.features import Projection, States
from peerlearn.models.graphs.network import (
    Head,
    Norm,
    Operator,
    OperatorNetwork,
)
from peerlearn.models.graphs.propagation import received
from peerlearn.models.graphs.readout import Readout


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


def sage(
    features: int,
    classes: int,
    *,
    hidden: Count = 64,
    layers: Count = 2,
    dropout: Rate = 0.5,
    input_dropout: Rate | None = None,
    norm: Norm = "none",
    head: Head = "operator",
    readout: Readout = "mean",
) -> OperatorNetwork:
    """GraphSAGE: a node and the mean of its neighbours, weighed apart (Hamilton et al. 2017).

    Args:
        hidden: columns of every hidden layer.
        layers: operators in all.
        dropout: rate before every operator but the first, and before a linear head.
        input_dropout: rate on the node features; none given: `dropout`.
        norm: `batch` normalises every hidden layer.
        head: `operator`, or `linear` on the last hidden layer; see `OperatorNetwork`.
        readout: `mean`, `sum` or `max` over the nodes of a graph, where graphs are classified.
    """
    return OperatorNetwork(
        features,
        classes,
        SAGEOperator,
        width=hidden,
        layers=layers,
        head=head,
        dropout=dropout,
        input_dropout=input_dropout,
        norm=norm,
        readout=readout,
    )
