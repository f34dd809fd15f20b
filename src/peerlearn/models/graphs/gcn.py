"""Graph convolutional network (Kipf & Welling, "Semi-Supervised Classification with Graph
Convolutional Networks", ICLR 2017, arXiv:1609.02907)."""

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


class GCNOperator(Operator):
    """H' = (D + I)^-1/2 (A + I) (D + I)^-1/2 H W + b

    Shapes:
        H: (N, columns_in); H': (N, columns)
    """

    def __init__(self, columns_in: int, columns: int) -> None:
        super().__init__()
        self.projection = Projection(columns_in, columns)
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, graph: Graph, h: States) -> Tensor:
        return received(graph, h, "gcn", self.projection) + self.bias


def gcn(
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
    """Graph convolutional network: neighbours weigh by degree (Kipf & Welling 2017).

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
        GCNOperator,
        width=hidden,
        layers=layers,
        head=head,
        dropout=dropout,
        input_dropout=input_dropout,
        norm=norm,
        readout=readout,
    )
