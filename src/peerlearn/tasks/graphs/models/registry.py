"""Graph networks by name; each is called with a `Graph`.

Those of one operator are here: GCN, GraphSAGE, GIN, and a perceptron that needs no edges.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.arguments import Count, Depth, Rate, check_count, passing_on
from peerlearn.models.registry import Models
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.features import Projection, States, received
from peerlearn.tasks.graphs.models.gat import gat
from peerlearn.tasks.graphs.models.network import (
    Head,
    Jump,
    LinearOperator,
    Norm,
    Operator,
    OperatorNetwork,
    linear,
    normalisation,
)
from peerlearn.tasks.graphs.models.propagation import Readout
from peerlearn.transfer.outputs import PeerOutput


class GCNOperator(LinearOperator):
    """H' = (D + I)^-1/2 (A + I) (D + I)^-1/2 H W + b

    Kipf & Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017,
    arXiv:1609.02907.

    Shapes: H: (N, columns_in); H': (N, columns)
    """

    def forward(self, graph: Graph, h: States) -> Tensor:
        return received(graph, h, "gcn", self.projection) + self.bias


@passing_on(OperatorNetwork)
def gcn(features: int, classes: int, **others: Any) -> OperatorNetwork:
    """Graph convolutional network: neighbours weigh by degree (Kipf & Welling 2017).

    Other arguments: see `OperatorNetwork`.
    """
    return OperatorNetwork(features, classes, GCNOperator, **others)


class SAGEOperator(Operator):
    """h'_v = W_own h_v + W_neighbours mean_u h_u + b, over the nodes u that send to v.

    Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs", NeurIPS 2017,
    arXiv:1706.02216. The mean is taken of what is projected: fewer columns, and the same.

    Shapes: h: (N, columns_in); h': (N, columns)
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

    Other arguments: see `OperatorNetwork`.
    """
    return OperatorNetwork(features, classes, SAGEOperator, **others)


class GINOperator(Operator):
    """h'_v = MLP((1 + ε) h_v + Σ_u h_u), over the nodes u that send to v.

    Xu, Hu, Leskovec & Jegelka, "How Powerful are Graph Neural Networks?", ICLR 2019,
    arXiv:1810.00826. The perceptron has one hidden layer of `inner` units, with the norm before
    its ReLU. As its first map is linear, it comes before the sum where that costs less. ε is
    learnt from 0.

    Shapes: h: (N, columns_in); h': (N, columns)
    """

    def __init__(self, columns_in: int, columns: int, *, inner: int, norm: Norm) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(()))
        self.projection = Projection(columns_in, inner)
        self.bias = nn.Parameter(torch.zeros(inner))
        self.norm = normalisation(norm, inner)
        self.output = linear(inner, columns)

    def forward(self, graph: Graph, h: States) -> Tensor:
        summed = received(graph, h, "sum", self.projection, 1 + self.eps) + self.bias
        output: Tensor = self.output(F.relu(self.norm(summed)))
        return output


@passing_on(OperatorNetwork)
def gin(
    features: int,
    classes: int,
    *,
    hidden: Count = 64,
    layers: Depth = 3,
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


class GraphMLP(OperatorNetwork):
    """An `OperatorNetwork` that needs no edges, and so also takes the features alone.

    Shapes: input: a `Graph`, or dense features (N, F)
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

    Arguments: see `OperatorNetwork`, whose head is an operator.
    """
    return GraphMLP(features, classes, LinearOperator, hidden=hidden, dropout=dropout, **others)


def _check_sample(features: Any, model: str, field: str) -> int:
    return check_count("features", features, field)


GRAPH_MODELS = Models(gcn, gat, sage, gin, graph_mlp, sample="features", check_sample=_check_sample)
