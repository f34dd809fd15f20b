"""Graph convolutional network (Kipf & Welling, "Semi-Supervised Classification with Graph
Convolutional Networks", ICLR 2017, arXiv:1609.02907)."""

from typing import Any

from torch import Tensor

from peerlearn.models.arguments import passing_on
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.features import States
from peerlearn.tasks.graphs.models.network import LinearOperator, OperatorNetwork
from peerlearn.tasks.graphs.models.propagation import received


class GCNOperator(LinearOperator):
    """H' = (D + I)^-1/2 (A + I) (D + I)^-1/2 H W + b

    Shapes:
        H: (N, columns_in); H': (N, columns)
    """

    def forward(self, graph: Graph, h: States) -> Tensor:
        return received(graph, h, "gcn", self.projection) + self.bias


@passing_on(OperatorNetwork)
def gcn(features: int, classes: int, **others: Any) -> OperatorNetwork:
    """Graph convolutional network: neighbours weigh by degree (Kipf & Welling 2017).

    Args:
        others: see `OperatorNetwork`.
    """
    return OperatorNetwork(features, classes, GCNOperator, **others)
