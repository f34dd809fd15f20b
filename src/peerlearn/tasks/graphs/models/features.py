"""What the first layer reads: node features, dense or with few values that are not zero."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.bayesian.posterior import MeanField
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.propagation import (
    Rows,
    multiply,
    propagate,
    propagated_features,
)

LANES = 4
"""Random numbers of 16 bits in one draw of 64."""


class SparseFeatures(NamedTuple):
    """Features (N, F) by rows and by columns.

    Shapes:
        rows: (N, F), with the values of this forward.
        transposed: (F, N), of the same values.
        order: int64 (entries,), the place in `rows` of every entry of `transposed`.
    """

    rows: Rows
    transposed: Rows
    order: Tensor

    def with_values(self, values: Tensor) -> "SparseFeatures":
        """The same places with other values, which are in the order of `rows`."""
        turned = values.index_select(0, self.order)
        return SparseFeatures(
            self.rows._replace(values=values), self.transposed._replace(values=turned), self.order
        )


States = Tensor | SparseFeatures
"""What a layer reads of the nodes, (N, columns): only the first may see sparse features."""


def input_features(graph: Graph, rate: float) -> States:
    """The node features after dropout.

    Where features are sparse, only the entries that are not zero are drawn: the distribution is
    that of dropout on the dense matrix, whose zeros stay zero. Where they are dense and `rate` is
    0, the result is `graph.x` itself, by which layers know that they may share what they make of
    it; see `received`.
    """
    if not graph.sparse_features:
        return dropout(graph.x, rate)
    features = graph.cached(_both_ways)
    return features.with_values(dropout(features.rows.values, rate)) if rate else features


class Projection(nn.Module):
    """h W, where h is dense or sparse; a bias, if any, is for the caller to add.

    W lies the other way round than in `nn.Linear`, so that sparse features look its rows up.

    Args:
        columns_in: columns of h.
        columns: columns of the result.

    Shapes: weight: (columns_in, columns)
    """

    linear = True
    bayesian_form: "type[BayesianProjection]"

    def __init__(self, columns_in: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(columns_in, columns))
        nn.init.xavier_uniform_(self.weight)

    @property
    def narrows(self) -> bool:
        """Whether h W has no more columns than h, so that it costs no more to propagate."""
        return self.weight.shape[1] <= self.weight.shape[0]

    def forward(self, h: States) -> Tensor:
        return _product(h, self.weight)

    def extra_repr(self) -> str:
        """Shown in `print(network)`."""
        return "{} -> {}".format(*self.weight.shape)


class BayesianProjection(MeanField, Projection):
    """A projection with a posterior: one draw of W for all nodes of a forward.

    Nodes share what they receive, so there is no draw for each of them, whatever `method` says.
    """

    bias = None

    def forward(self, h: States) -> Tensor:
        weight = self.drawn("weight")
        assert weight is not None
        return _product(h, weight)


Projection.bayesian_form = BayesianProjection


def _product(h: States, weight: Tensor) -> Tensor:
    if isinstance(h, SparseFeatures):
        product: Tensor = _FeatureProduct.apply(weight, h)
        return product
    # Fewer classes than a vector register holds: this way round takes half the time.
    return F.linear(h, weight.t().contiguous())


def received(
    graph: Graph, h: States, kind: str, projection: Projection, own: Tensor | None = None
) -> Tensor:
    """(operator @ h + own h) W, in the order of multiplication that costs less.

    Raw dense features are propagated once, for all peers and steps. `own` is a factor (), or None
    where a node sees itself by the operator alone.
    """

    def summed(states: Tensor, along: Tensor) -> Tensor:
        return along if own is None else own * states + along

    if h is graph.x:
        return projection(summed(graph.x, propagated_features(graph, kind)))
    if isinstance(h, Tensor) and not projection.narrows:
        return projection(summed(h, propagate(graph, kind, h)))
    z = projection(h)
    return summed(z, propagate(graph, kind, z))


class _FeatureProduct(torch.autograd.Function):
    """X W with a gradient for W only: X^T @ gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, features: SparseFeatures) -> Tensor:
        ctx.features, ctx.dtype = features, weight.dtype
        return multiply(features.rows, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return multiply(ctx.features.transposed, gradients[0]).to(ctx.dtype), None


def _both_ways(graph: Graph) -> SparseFeatures:
    x = graph.x
    rows = Rows.of(x)
    order = rows.columns.argsort(stable=True)
    row_numbers = torch.arange(len(x), dtype=rows.columns.dtype, device=x.device)
    row_of = row_numbers.repeat_interleave(rows.offsets.diff())
    sizes = torch.bincount(rows.columns, minlength=x.shape[1])
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).to(rows.columns.dtype)
    return SparseFeatures(rows, Rows(offsets, row_of[order], rows.values[order]), order)


def dropout(h: Tensor, rate: float) -> Tensor:
    """Set each value to 0 with probability `rate`, scale the others so that the mean stays.

    The same as `torch.nn.functional.dropout` in training, whose mask takes about ten times as long
    on the CPU, where torch draws it value by value. Four values share a draw of torch's global
    generator here, which rounds the rate to a multiple of 2^-16; the scale fits the rounded rate.
    """
    if rate == 0:
        return h
    return h * kept(h, rate) if h.device.type == "cpu" else F.dropout(h, rate)


def kept(like: Tensor, rate: float) -> Tensor:
    """A dropout mask of the shape and type of `like`: 0, or 1 / (1 - rate) where a value stays."""
    chances = max(1, round((1 - rate) * 2**16))  # of 2^16, to stay
    draws = torch.empty(-(-like.numel() // LANES), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: like.numel()].view(like.shape)
    # A comparison that writes floats at once is faster than one that is converted afterwards.
    stays = torch.le(bits, chances - 1 - 2**15, out=torch.empty_like(bits, dtype=like.dtype))
    return stays.mul_(2**16 / chances)
