"""A second head that tells how large a node's neighbourhood, or a graph, is: a task without labels.

Suffixes: R rows (nodes that are asked for an output, or graphs), B buckets.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.objectives.base import Objective, PeerView
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.network import GraphNetwork, OperatorNetwork, linear
from peerlearn.transfer.outputs import PeerOutput


class AuxiliaryNetwork(GraphNetwork):
    """A graph network with an auxiliary head on its last hidden layer.

    The head classifies sizes into buckets of equal content: the in-degree of every node, or, where
    graphs are classified, their numbers of nodes. Everything else is the network's.

    Args:
        network: with at least one hidden layer.
        of_graphs: whether graphs are classified rather than nodes.
        buckets: classes of the head.

    Shapes:
        features: those of the network, and `auxiliary` (R, buckets), `auxiliary_target` int64 (R,)

    Raises InputError: a network without a hidden layer that the head could read.
    """

    def __init__(self, network: torch.nn.Module, of_graphs: bool, buckets: int) -> None:
        super().__init__()
        if not isinstance(network, OperatorNetwork) or not len(network.operators):
            found = "1 layer" if isinstance(network, OperatorNetwork) else type(network).__name__
            raise InputError(
                "an auxiliary head reads the last hidden layer of a built-in graph network of 2 "
                f"layers or more; found {found}"
            )
        self.network = network
        self.head = linear(network.seen if of_graphs else network.width, buckets)
        self.source = "pooled" if of_graphs else f"hidden{len(network.operators)}"
        self.reads_edges = network.reads_edges
        self.bounds: Tensor
        self.register_buffer("bounds", torch.zeros(buckets - 1))

    def divide(self, sizes: Tensor) -> None:
        """Lay the bounds between buckets where they hold equal parts of `sizes`, (rows,)."""
        parts = torch.arange(1, len(self.bounds) + 1) * len(sizes) // (len(self.bounds) + 1)
        self.bounds.copy_(sizes.sort().values[parts])

    def forward(self, graph: Graph) -> PeerOutput:
        output = self.network(graph)
        target = torch.bucketize(sizes(graph).to(self.bounds.dtype), self.bounds, right=True)
        auxiliary = {"auxiliary": self.head(output.features[self.source])}
        return PeerOutput(output.logits, output.features | auxiliary | {"auxiliary_target": target})


@dataclass(frozen=True)
class MultiTask(Objective):
    """`L + weight · cross-entropy of the auxiliary head`, over all rows, labelled or not.

    Args:
        main: L, what the peer learns from labels.
        weight: of the second task.
    """

    main: Objective
    weight: float

    @property
    def reads_labels(self) -> bool:
        return self.main.reads_labels

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer, whose network is an `AuxiliaryNetwork`."""
        features = view.output.features
        second = F.cross_entropy(features["auxiliary"].float(), features["auxiliary_target"])
        return self.main.loss(view) + self.weight * second


def sizes(graph: Graph) -> Tensor:
    """What the head tells, int64 (R,): nodes of each graph, or edges that a node receives.

    Self-loops are not counted; in a sampled graph those of the whole one are.
    """
    return graph.cached(_sizes)[: graph.seeds]


def _sizes(graph: Graph) -> Tensor:
    if graph.graph_of is not None:
        return torch.bincount(graph.graph_of, minlength=graph.graphs)
    if graph.degree is not None:
        return graph.degree
    senders, receivers = graph.edge_index
    return torch.bincount(receivers[senders != receivers], minlength=graph.num_nodes)
