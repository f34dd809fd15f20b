"""What all graph networks have in common: hidden layers, a readout and a head."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models.arguments import Count, Depth, Rate
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.features import Projection, States, dropout, input_features
from peerlearn.tasks.graphs.models.propagation import Readout, read_out
from peerlearn.transfer.outputs import PeerOutput

Head = Literal["operator", "linear"]
Norm = Literal["none", "batch"]
Jump = Literal["none", "cat"]


class Operator(nn.Module, ABC):
    """What one layer does before its norm and activation.

    Where a network gets posteriors, projections have them; biases and attention stay.
    """

    keeps_weights = True

    @abstractmethod
    def forward(self, graph: Graph, h: States) -> Tensor:
        """Node states (N, columns in) to (N, columns)."""


class LinearOperator(Operator):
    """H' = H W + b: every node by itself.

    Shapes: H: (N, columns_in); H': (N, columns)
    """

    def __init__(self, columns_in: int, columns: int) -> None:
        super().__init__()
        self.projection = Projection(columns_in, columns)
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, graph: Graph, h: States) -> Tensor:
        return self.projection(h) + self.bias


class GraphNetwork(nn.Module, ABC):
    """A network that reads a `Graph`.

    Shapes:
        logits: (N, classes), or (seeds, classes) where only those nodes are asked for an output,
            or (graphs, classes) where nodes belong to graphs
        features: see `OperatorNetwork`

    Attributes:
        reads_edges: whether outputs depend on the edges.
    """

    reads_edges: bool = True

    @abstractmethod
    def forward(self, graph: Graph) -> PeerOutput:
        """Logits and named features."""


class OperatorNetwork(GraphNetwork):
    """Hidden layers of dropout, operator, norm and activation; then a head.

    Args:
        features: columns of the node features.
        classes: number of logits.
        operator: makes an operator from its columns in and its columns.
        last: makes the operator of the head; None for `operator`.
        activation: after every hidden layer.
        jump: `cat` shows the linear head every hidden layer rather than the last.
        hidden: columns of every hidden layer.
        layers: operators in all, that of the head included.
        dropout: rate before every operator but the first, and before the linear head.
        input_dropout: rate on the node features; None for `dropout`.
        norm: `batch` normalises each column of every hidden layer over the nodes.
        head: `operator` gives logits of the nodes by an operator without norm and activation, and
            reads them out where nodes belong to graphs; `linear` reads the hidden states out and
            classifies them linearly.
        readout: `mean`, `sum` or `max` over the nodes of a graph; not used where nodes are
            classified.

    Shapes:
        logits: (N, classes), (seeds, classes) or (graphs, classes); see `GraphNetwork`
        features: `hidden1`, ... (N, hidden), or (seeds, hidden); where nodes belong to graphs also
            `pooled` (graphs, columns), the readout of the last of them, or with `jump` of all
    """

    def __init__(
        self,
        features: int,
        classes: int,
        operator: Callable[[int, int], Operator],
        last: Callable[[int, int], Operator] | None = None,
        activation: Callable[[Tensor], Tensor] = F.relu,
        jump: Jump = "none",
        *,
        hidden: Count = 64,
        layers: Depth = 2,
        dropout: Rate = 0.5,
        input_dropout: Rate | None = None,
        norm: Norm = "none",
        head: Head = "operator",
        readout: Readout = "mean",
    ) -> None:
        super().__init__()
        if jump == "cat" and head != "linear":
            raise InputError(f"argument jump = {jump!r}: needs head = 'linear', found {head!r}")
        sizes = [features] + [hidden] * (layers - (head == "operator"))
        self.operators = nn.ModuleList(map(operator, sizes, sizes[1:]))
        self.norms = nn.ModuleList(normalisation(norm, columns) for columns in sizes[1:])
        seen = sum(sizes[1:]) if jump == "cat" else sizes[-1]
        self.head: nn.Module = (
            (last or operator)(seen, classes) if head == "operator" else linear(seen, classes)
        )
        self.features, self.width, self.seen = features, hidden, seen
        self.activation = activation
        self.dropout = dropout
        self.input_dropout = dropout if input_dropout is None else input_dropout
        self.readout: Readout = readout
        self.jump = jump

    @property
    def layers(self) -> int:
        """Operators in all, that of the head included: how many edges away a network sees."""
        return len(self.operators) + isinstance(self.head, Operator)

    def forward(self, graph: Graph) -> PeerOutput:
        if graph.x.shape[1] != self.features:
            raise InputError(
                f"graph: nodes have {graph.x.shape[1]} features; the network reads {self.features}"
            )
        h = input_features(graph, self.input_dropout if self.training else 0.0)
        hidden: list[Tensor] = []
        for operator, norm in zip(self.operators, self.norms, strict=True):
            h = self._dropped(hidden[-1]) if hidden else h
            hidden.append(self.activation(norm(operator(graph, h))))
        features = {f"hidden{n}": states[: graph.seeds] for n, states in enumerate(hidden, 1)}
        if isinstance(self.head, Operator):
            h = self._dropped(hidden[-1]) if hidden else h
            logits = self._asked_for(graph, self.head(graph, h))
            pooled = self._asked_for(graph, hidden[-1]) if hidden else None
        else:
            pooled = torch.cat(hidden, 1) if self.jump == "cat" else hidden[-1]
            pooled = self._asked_for(graph, pooled)
            logits = self.head(self._dropped(pooled))
        if graph.graph_of is not None and pooled is not None:
            features["pooled"] = pooled
        return PeerOutput(logits, features)

    def _asked_for(self, graph: Graph, h: Tensor) -> Tensor:
        """A row per graph, or per node that is asked for an output."""
        if graph.graph_of is not None:
            return read_out(graph, h, self.readout)
        return h if graph.seeds is None else h[: graph.seeds]

    def _dropped(self, h: Tensor) -> Tensor:
        return dropout(h, self.dropout) if self.training else h

    def extra_repr(self) -> str:
        """Shown in `print(network)`."""
        return (
            f"activation={self.activation.__name__}, dropout={self.dropout}, "
            f"input_dropout={self.input_dropout}, readout={self.readout}, jump={self.jump}"
        )


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a single node, which has no variance, by running statistics.

    Such a batch is a graph of one node on its own, and no reason for a training to fail.
    """

    def forward(self, h: Tensor) -> Tensor:
        if self.training and len(h) == 1 and self.running_mean is not None:
            return F.batch_norm(
                h, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(h)


def normalisation(norm: Norm, columns: int) -> nn.Module:
    """The layer that a `norm` stands for."""
    return BatchNorm(columns) if norm == "batch" else nn.Identity()


def linear(columns_in: int, columns: int) -> nn.Linear:
    """A linear map as torch-geometric starts it: Glorot uniform, bias 0."""
    layer = nn.Linear(columns_in, columns)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
