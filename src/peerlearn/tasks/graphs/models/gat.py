"""Graph attention network (Veličković et al., "Graph Attention Networks", ICLR 2018,
arXiv:1710.10903).

Heads are treated as copies of the graph side by side: node v under head h is row v H + h. One
head-edge is then one edge of a large graph, and all heads together are one sparse product.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.arguments import Count, Rate, passing_on
from peerlearn.tasks.graphs.data.graph import Graph, make_csr
from peerlearn.tasks.graphs.models.features import Projection, States, kept
from peerlearn.tasks.graphs.models.network import Operator, OperatorNetwork
from peerlearn.tasks.graphs.models.propagation import Rows, multiply

SLOPE = 0.2
"""Of the LeakyReLU on attention scores."""

REGISTER = 8
"""Floats that a vector register of a common CPU holds."""


class GATOperator(Operator):
    """Every head h projects the states, and weighs what a node receives by attention:

        z = H W_h,   e_uv = LeakyReLU(a_h · z_u + b_h · z_v),   α_uv = softmax_u(e_uv)
        h'_v = concatenation (or mean) over heads of Σ_u α_uv z_u, + bias

    over the nodes u that send to v, and v itself. Attention dropout acts on α.

    Args:
        columns_in: columns of H.
        columns: of each head.
        heads: number of heads.
        concatenate: put the heads side by side rather than average them.
        attention_dropout: rate.

    Shapes:
        H: (N, columns_in); H': (N, heads * columns), or (N, columns) for the mean
        attention: (heads, columns, 2), the vectors a and b
    """

    def __init__(
        self,
        columns_in: int,
        columns: int,
        heads: int,
        *,
        concatenate: bool = True,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.columns, self.concatenate = heads, columns, concatenate
        self.attention_dropout = attention_dropout
        self.projection = Projection(columns_in, heads * columns)
        self.attention = nn.Parameter(torch.empty(heads, columns, 2))
        self.bias = nn.Parameter(torch.zeros(columns * (heads if concatenate else 1)))
        bound = (6 / (heads + columns)) ** 0.5  # Glorot's, of (heads, columns) as torch-geometric
        nn.init.uniform_(self.attention, -bound, bound)
        self.own_head: Tensor
        self.register_buffer("own_head", torch.eye(heads)[:, None, :, None], persistent=False)

    def forward(self, graph: Graph, h: States) -> Tensor:
        z = self.projection(h)
        edges = head_edges(graph, self.heads)
        rate = self.attention_dropout if self.training else 0.0
        mask = kept(edges.pattern.values(), rate) if rate else None
        states = z.view(-1, self.columns)
        out = attend(states, self._scores(z).view(-1, 2), edges, SLOPE, mask)
        out = out.view(len(z), -1)
        if not self.concatenate:
            out = out.view(-1, self.heads, self.columns).mean(1) if self.heads > 1 else out
        return out + self.bias

    def _scores(self, z: Tensor) -> Tensor:
        """a_h · z_v and b_h · z_v of every node and head: (N, heads * 2).

        One matrix product with the heads' vectors on the diagonal of a block matrix.
        """
        blocks = self.attention[:, :, None, :] * self.own_head
        return z @ blocks.view(self.heads * self.columns, self.heads * 2)


@passing_on(OperatorNetwork)
def gat(
    features: int,
    classes: int,
    *,
    hidden: Count = 8,
    heads: Count = 8,
    last_heads: Count = 1,
    dropout: Rate = 0.6,
    input_dropout: Rate | None = None,
    attention_dropout: Rate = 0.6,
    **others: Any,
) -> OperatorNetwork:
    """Graph attention network: neighbours weigh by learnt attention (Veličković et al. 2018).

    Args:
        hidden: columns of every head in the hidden layers, which have heads × hidden columns.
        heads: attention heads of every hidden layer.
        last_heads: heads of an operator head, which are averaged.
        attention_dropout: rate on the attention weights.
        dropout, input_dropout, others: see `OperatorNetwork`.
    """

    def operator(columns_in: int, columns: int) -> GATOperator:
        return GATOperator(columns_in, columns // heads, heads, attention_dropout=attention_dropout)

    def last(columns_in: int, columns: int) -> GATOperator:
        return GATOperator(
            columns_in,
            columns,
            last_heads,
            concatenate=False,
            attention_dropout=attention_dropout,
        )

    return OperatorNetwork(
        features,
        classes,
        operator,
        last,
        F.elu,
        hidden=hidden * heads,
        dropout=dropout,
        input_dropout=input_dropout,
        **others,
    )


class HeadEdges(NamedTuple):
    """Edges of all heads, ordered by receiving row and, for the transpose, by sending row.

    Shapes, with R = N H rows and M = E' H head-edges:
        offsets: integers (R + 1,); row r receives over edges offsets[r] to offsets[r + 1].
        senders, receivers: integers (M,), rows.
        out_offsets, out_receivers: the same edges ordered by sender, as `offsets` and `receivers`.
        order: integers (M,), the place among `senders` of every edge ordered by sender.
        pattern: sparse CSR (R, R) of zeros, an entry for each edge.
    """

    offsets: Tensor
    senders: Tensor
    receivers: Tensor
    out_offsets: Tensor
    out_receivers: Tensor
    order: Tensor
    pattern: Tensor

    def weighted(self, weights: Tensor) -> Rows:
        """The matrix (R, R) with a weight per edge."""
        return Rows(self.offsets, self.senders, weights)

    def transposed(self, weights: Tensor) -> Rows:
        """The transpose of `weighted(weights)`."""
        return Rows(self.out_offsets, self.out_receivers, weights.index_select(0, self.order))


def head_edges(graph: Graph, heads: int) -> HeadEdges:
    """The head-edges of a graph, made once for each number of heads."""
    return graph.cached(_head_edges, heads)


def attend(
    h: Tensor, scores: Tensor, edges: HeadEdges, slope: float, mask: Tensor | None = None
) -> Tensor:
    """Sum of the senders' states, weighted by a softmax over the edges that a row receives:

        e_uv = LeakyReLU(sending_u + receiving_v),   α_uv = exp(e_uv) / Σ_u' exp(e_u'v)
        out_v = Σ_u mask_uv α_uv h_u

    Differentiable once, in `h` and `scores`.

    Args:
        slope: of the LeakyReLU below 0.
        mask: dropout mask of the attention weights; None for all ones.

    Shapes: h: (R, C); scores: (R, 2), columns sending and receiving; mask: (M,); result: (R, C)
    """
    # At least fp32, as under autocast the states may come in less.
    dtype = torch.promote_types(h.dtype, torch.float32)
    attended: Tensor = _Attention.apply(h.to(dtype), scores.to(dtype), edges, slope, mask)
    return attended


class _Attention(torch.autograd.Function):
    """All edges of all heads at once; of what is made per edge, three vectors are kept."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, scores: Tensor, edges: HeadEdges, slope: float, mask: Tensor | None
    ) -> Tensor:
        sending, receiving = scores.unbind(1)
        raw = sending.index_select(0, edges.senders) + receiving.index_select(0, edges.receivers)
        e = F.leaky_relu(raw, slope)
        largest = torch.segment_reduce(e, "max", offsets=edges.offsets)
        alpha = e.sub_(largest.index_select(0, edges.receivers)).exp_()
        total = _row_sums(edges.weighted(alpha))
        alpha /= total.index_select(0, edges.receivers)
        out = multiply(edges.weighted(alpha if mask is None else alpha * mask), h)
        ctx.save_for_backward(h, raw, alpha, out, mask)
        ctx.edges, ctx.slope = edges, slope
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        h, raw, alpha, out, mask = ctx.saved_tensors
        edges: HeadEdges = ctx.edges
        for_h = multiply(edges.transposed(alpha if mask is None else alpha * mask), gradient)
        for_alpha = _at_edges(gradient, h, edges)
        if mask is not None:
            for_alpha *= mask
        # The softmax takes from every edge's gradient their mean under α, which is this product.
        mean = (gradient * out).mv(out.new_ones(out.shape[1]))
        for_e = for_alpha.sub_(mean.index_select(0, edges.receivers)).mul_(alpha)
        for_raw = torch.ops.aten.leaky_relu_backward(for_e, raw, ctx.slope, False)
        for_scores = [_row_sums(edges.transposed(for_raw)), _row_sums(edges.weighted(for_raw))]
        return for_h, torch.stack(for_scores, 1), None, None, None


def _row_sums(matrix: Rows) -> Tensor:
    ones = matrix.values.new_ones(len(matrix.offsets) - 1, 1)
    return multiply(matrix, ones)[:, 0]


def _at_edges(receiving: Tensor, sending: Tensor, edges: HeadEdges) -> Tensor:
    """receiving_v · sending_u of every edge u → v, without an (M, C) matrix in between."""
    # On the CPU, columns that do not fill whole vector registers cost several times as much.
    if missing := -receiving.shape[1] % REGISTER:
        receiving, sending = F.pad(receiving, (0, missing)), F.pad(sending, (0, missing))
    pattern = edges.pattern.to(receiving.dtype)
    return torch.sparse.sampled_addmm(pattern, receiving, sending.t(), beta=0).values()


def _head_edges(graph: Graph, heads: int) -> HeadEdges:
    senders, receivers, offsets = graph.attention_edges()
    edges, rows = len(senders) * heads, graph.num_nodes * heads
    integer = torch.int32 if max(edges, rows) < 2**31 else torch.int64
    head = torch.arange(heads, device=senders.device)

    def by_row(values: Tensor, places: Tensor) -> Tensor:
        """One value per edge and head, put at its place among the head-edges."""
        return values.new_empty(edges).index_copy_(0, places.flatten(), values.flatten())

    places = _places(receivers, offsets, heads)
    order = senders.argsort(stable=True)
    out_sizes = torch.bincount(senders, minlength=graph.num_nodes)
    out_offsets = torch.cat([out_sizes.new_zeros(1), out_sizes.cumsum(0)])
    out_places = _places(senders[order], out_offsets, heads)
    in_rows = _head_offsets(offsets, heads).to(integer)
    sending = by_row(senders[:, None] * heads + head, places).to(integer)
    receiving = receivers[:, None] * heads + head
    zeros = torch.zeros(edges, device=senders.device)
    pattern = make_csr(in_rows, sending, zeros, (rows, rows))
    return HeadEdges(
        in_rows,
        sending,
        by_row(receiving, places).to(integer),
        _head_offsets(out_offsets, heads).to(integer),
        by_row(receiving[order], out_places).to(integer),
        by_row(places[order], out_places).to(integer),
        pattern,
    )


def _places(owners: Tensor, offsets: Tensor, heads: int) -> Tensor:
    """Where edge e of head h lies when ordered by owner, then head: (E', heads).

    The edges of owner v, `offsets[v]` to `offsets[v + 1]`, become H runs of that length.
    """
    sizes = offsets.diff()[owners]
    first = offsets[:-1][owners]
    within = torch.arange(len(owners), device=owners.device) - first
    head = torch.arange(heads, device=owners.device)
    return (first * heads + within)[:, None] + head * sizes[:, None]


def _head_offsets(offsets: Tensor, heads: int) -> Tensor:
    """Offsets of the rows v H + h."""
    head = torch.arange(heads, device=offsets.device)
    runs = offsets[:-1, None] * heads + head * offsets.diff()[:, None]
    return torch.cat([runs.flatten(), offsets[-1:] * heads])
