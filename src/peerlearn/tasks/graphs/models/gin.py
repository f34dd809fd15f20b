"""Graph isomorphism network (Xu, Hu, Leskovec & Jegelka, "How Powerful are Graph Neural Networks?",
ICLR 2019, arXiv:1810.00826)."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.arguments import Count, Rate, passing_on
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.features import Projection, States
from peerlearn.tasks.graphs.models.network import (
    Head,
    Jump,
    Norm,
    Operator,
    OperatorNetwork,
    linear,
    normalisation,
)
from peerlearn.tasks.graphs.models.propagation import propagate, propagated_features
from peerlearn.tasks.graphs.models.readout import Readout


class GINOperator(Operator):
    """h'_v = MLP((1 + ε) h_v + Σ_u h_u), over the nodes u that send to v.

    The perceptron has one hidden layer of `inner` units, with the norm before its ReLU. As its
    first map is linear, it comes before the sum where that costs less. ε is learnt from 0.

    Shapes:
        h: (N, columns_in); h': (N, columns)
    """

    def __init__(self, columns_in: int, columns: int, *, inner: int, norm: Norm) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(()))
        self.projection = Projection(columns_in, inner)
        self.bias = nn.Parameter(torch.zeros(inner))
        self.norm = normalisation(norm, inner)
        self.output = linear(inner, columns)

    def forward(self, graph: Graph, h: States) -> Tensor:
        summed = self._projected_sum(graph, h) + self.bias
        output: Tensor = self.output(F.relu(self.norm(summed)))
        return output

    def _projected_sum(self, graph: Graph, h: States) -> Tensor:
        projected: Tensor
        if h is graph.x:
            projected = self.projection((1 + self.eps) * h + propagated_features(graph, "sum"))
        elif isinstance(h, Tensor) and not self.projection.narrows:
            projected = self.projection((1 + self.eps) * h + propagate(graph, "sum", h))
        else:
            own = self.projection(h)
            projected = (1 + self.eps) * own + propagate(graph, "sum", own)
        return projected


@passing_on(OperatorNetwork)
def gin(
    features: int,
    classes: int,
    *,
    hidden: Count = 64,
    layers: Count = 3,
    input_dropout: Rate | None = 0.0,
    norm: Norm = "batch",
    head: Head = "linear",
    jump: Jump = "none",
    readout: Readout = "sum",
    **others: Any,
) -> OperatorNetwork:
    """Graph isomorphism network: a perceptron on the sum of the neighbours (Xu et al. 2019).

    Args:
        hidden: columns of every hidden layer, and of the hidden layer of each perceptron.
        norm: `batch` normalises every hidden layer, inside the perceptrons too.
        jump: `cat` shows a linear head all hidden layers.
        layers, input_dropout, head, readout, others: see `OperatorNetwork`.
    """
    return OperatorNetwork(
        features,
        classes,
        partial(GINOperator, inner=hidden, norm=norm),
        jump=jump,
        hidden=hidden,
        layers=layers,
        input_dropout=input_dropout,
        norm=norm,
        head=head,
        readout=readout,
        **others,
    )
