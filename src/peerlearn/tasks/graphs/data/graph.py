"""One graph, or a disjoint union of several: the value that graph networks read."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from peerlearn.tasks.graphs.data.operators import (
    AttentionEdges,
    attention_edges,
    csr_tensor,
    operator_matrix,
    transposed_matrix,
)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes with features and the edges between them.

    What is derived from them (operators, attention edges) is made at first use and cached in the
    instance: the peers of a cohort, who read one graph, share it.

    Shapes:
        x: float32 (N, F), dense, or sparse CSR where few values are not zero.
        edge_index: int64 (2, E), senders above receivers; no edge twice, self-loops as given.
        graph_of: int64 (N,), the graph that each node belongs to, ascending; None for one graph
            whose nodes are asked for outputs.
        graphs: number of graphs; trailing ones may have no node.
        seeds: the first `seeds` nodes are asked for an output; None for all of them.
        degree: int64 (N,), edges that each node receives in the whole graph, self-loops not
            counted; None where all edges are present. See `operator_matrix`.
    """

    x: Tensor
    edge_index: Tensor
    graph_of: Tensor | None = None
    graphs: int = 1
    seeds: int | None = None
    degree: Tensor | None = None
    _cache: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.x.shape[0]

    @property
    def num_features(self) -> int:
        """F."""
        return self.x.shape[1]

    @property
    def sparse_features(self) -> bool:
        """Whether `x` is a sparse CSR tensor."""
        return self.x.layout == torch.sparse_csr

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.x.device

    def operator(self, kind: str) -> Tensor:
        """The propagation operator of a kind, sparse CSR float32 (N, N).

        `operator(kind) @ h` gives every node (row) what it receives from its neighbours.

        Args:
            kind: "gcn", "mean" or "sum"; formulas at `operator_matrix`.

        Raises:
            InputError: no such kind.
        """
        return self.cached(_operator, kind)

    def transposed(self, kind: str) -> Tensor:
        """The transpose of `operator(kind)`, the same tensor where that is symmetric."""
        return self.cached(_transposed, kind)

    def attention_edges(self) -> AttentionEdges:
        """Edges sorted by receiver, with one self-loop at every node."""
        return self.cached(_attention_edges)

    def cached(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """What `make(self, *arguments)` gives, made once for this graph, `make` and arguments."""
        key = (make, *arguments)
        if key not in self._cache:
            self._cache[key] = make(self, *arguments)
        value: T = self._cache[key]
        return value

    def to(self, device: torch.device | str | None, non_blocking: bool = False) -> "Graph":
        """The same graph on `device`; itself where it is there already, or for None."""
        if device is None or self.device == torch.empty(0, device=device).device:
            return self

        def move(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        return replace(
            self,
            x=move(self.x),
            edge_index=move(self.edge_index),
            graph_of=move(self.graph_of),
            degree=move(self.degree),
        )


def _matrix(graph: Graph, kind: str) -> Any:
    return operator_matrix(kind, graph.edge_index, graph.num_nodes, graph.degree)


def _operator(graph: Graph, kind: str) -> Tensor:
    return csr_tensor(graph.cached(_matrix, kind), graph.device)


def _transposed(graph: Graph, kind: str) -> Tensor:
    matrix = graph.cached(_matrix, kind)
    turned = transposed_matrix(matrix)
    return graph.operator(kind) if turned is matrix else csr_tensor(turned, graph.device)


def _attention_edges(graph: Graph) -> AttentionEdges:
    return attention_edges(graph.edge_index, graph.num_nodes).to(graph.device)
