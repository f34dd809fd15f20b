"""What nodes receive along the edges."""

import torch
from torch import Tensor

from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.features import Projection, States
from peerlearn.tasks.graphs.models.products import Rows, multiply, sparse_product


def propagate(graph: Graph, kind: str, h: Tensor) -> Tensor:
    """What every node receives: operator @ h, differentiable in h.

    Args:
        graph: whose operator, and its transpose for the backward pass, are made once.
        kind: gcn, mean or sum.
        h: dense (N, D).
    """
    return sparse_product(Rows.of(graph.operator(kind)), Rows.of(graph.transposed(kind)), h)


def propagated_features(graph: Graph, kind: str) -> Tensor:
    """operator @ x of dense features: made once for a graph, whoever asks."""
    return graph.cached(_propagated_features, kind)


def received(graph: Graph, h: States, kind: str, projection: Projection) -> Tensor:
    """operator @ h W, in the order of multiplication that costs less.

    Raw dense features are propagated once, for all peers and steps.
    """
    product: Tensor
    if h is graph.x:
        product = projection(propagated_features(graph, kind))
    elif isinstance(h, Tensor) and not projection.narrows:
        product = projection(propagate(graph, kind, h))
    else:
        product = propagate(graph, kind, projection(h))
    return product


def _propagated_features(graph: Graph, kind: str) -> Tensor:
    # Not an inference tensor, which could not be used in training afterwards.
    with torch.inference_mode(False), torch.no_grad():
        return multiply(Rows.of(graph.operator(kind)), graph.x)
