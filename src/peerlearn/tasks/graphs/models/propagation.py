"""What nodes receive along the edges, and graphs of their nodes: sparse times dense matrices."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from peerlearn.tasks.graphs.data.graph import Graph

Readout = Literal["mean", "sum", "max"]


class Rows(NamedTuple):
    """A sparse matrix by rows.

    Shapes:
        offsets: integers (rows + 1,); row r has the entries offsets[r] to offsets[r + 1].
        columns: integers (entries,), of the type of `offsets`.
        values: (entries,).
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> "Rows":
        """The parts of a sparse CSR tensor, not copied."""
        return cls(matrix.crow_indices(), matrix.col_indices(), matrix.values())


def multiply(matrix: Rows, h: Tensor) -> Tensor:
    """matrix @ h, without a gradient, in the wider of the two types and at least fp32.

    A row of the product is a weighted sum of rows of h, which is what torch calls an embedding
    bag. On one CPU thread its kernel takes a third of the time of torch's CSR product.

    Shapes: matrix: (rows, N); h: (N, D); result: (rows, D)
    """
    dtype = torch.promote_types(h.dtype, matrix.values.dtype)
    return torch.embedding_bag(
        h.detach().to(dtype).contiguous(),  # what requires a gradient takes a slower kernel
        matrix.columns,
        matrix.offsets,
        per_sample_weights=matrix.values.to(dtype),
        include_last_offset=True,
    )[0]


class SparseProduct(torch.autograd.Function):
    """matrix @ h, whose gradient for h is transposed @ gradient; `matrix` gets none."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, matrix: Rows, transposed: Rows) -> Tensor:
        ctx.matrix, ctx.transposed, ctx.dtype = matrix, transposed, h.dtype
        return multiply(matrix, h)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # By `apply`, so that gradients of gradients exist.
        gradient = SparseProduct.apply(gradients[0], ctx.transposed, ctx.matrix)
        return gradient.to(ctx.dtype), None, None


def sparse_product(matrix: Rows, transposed: Rows, h: Tensor) -> Tensor:
    """matrix @ h, differentiable in h as often as wanted.

    Args:
        matrix: (rows, N).
        transposed: its transpose, (N, rows).
        h: dense (N, D).
    """
    product: Tensor = SparseProduct.apply(h, matrix, transposed)
    return product


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


def _propagated_features(graph: Graph, kind: str) -> Tensor:
    # Not an inference tensor, which could not be used in training afterwards.
    with torch.inference_mode(False), torch.no_grad():
        return multiply(Rows.of(graph.operator(kind)), graph.x)


def read_out(graph: Graph, h: Tensor, kind: Readout) -> Tensor:
    """Mean, sum or columnwise maximum over the nodes of each graph; 0 for a graph without nodes.

    Shapes: h: (N, D); result: (graphs, D)
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
