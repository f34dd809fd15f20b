"""From node states to one vector per graph."""

from typing import Literal

import torch
from torch import Tensor

from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.products import Rows, sparse_product

Readout = Literal["mean", "sum", "max"]


def read_out(graph: Graph, h: Tensor, kind: Readout) -> Tensor:
    """Mean, sum or columnwise maximum over the nodes of each graph; 0 for a graph without nodes.

    Shapes:
        h: (N, D); result: (graphs, D)
    """
    assert graph.graph_of is not None
    if kind == "max":
        # The gradient of a maximum is shared among the nodes that reach it.
        index = graph.graph_of[:, None].expand_as(h)
        empty = h.new_zeros(graph.graphs, h.shape[1])
        return empty.scatter_reduce(0, index, h, "amax", include_self=False)
    return sparse_product(*graph.cached(_matrices, kind), h)


def _matrices(graph: Graph, kind: Readout) -> tuple[Rows, Rows]:
    """The matrix (graphs, N) whose product is the readout, and its transpose."""
    graph_of = graph.graph_of
    assert graph_of is not None
    sizes = torch.bincount(graph_of, minlength=graph.graphs)
    weights = torch.ones(len(graph_of), device=graph_of.device)
    if kind == "mean":
        weights /= sizes[graph_of]
    nodes = torch.arange(len(graph_of) + 1, device=graph_of.device)
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return Rows(offsets, nodes[:-1], weights), Rows(nodes, graph_of, weights)
