"""Graph attention network (Veličković et al., "Graph Attention Networks", ICLR 2018,
arXiv:1710.10903)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.models.arguments import Count, Rate, passing_on
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.models.attention import attend, head_edges
from peerlearn.tasks.graphs.models.dropout import kept
from peerlearn.tasks.graphs.models.features import Projection, States
from peerlearn.tasks.graphs.models.network import Operator, OperatorNetwork

SLOPE = 0.2
"""Of the LeakyReLU on attention scores."""


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
