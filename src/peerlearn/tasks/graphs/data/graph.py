"""One graph, or a disjoint union of several: the value that graph networks read.

What carries node states along edges are sparse matrices: rows are receivers and columns are
senders, so `operator @ h` is what every node receives. All of them are built once by counting
sorts, in time and memory linear in the edges.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.errors import unknown_name

T = TypeVar("T")
Values = NDArray[Any]
KINDS = ("gcn", "mean", "sum")


class AttentionEdges(NamedTuple):
    """Edges ordered by receiver, then sender, with exactly one self-loop at every node.

    Shapes:
        senders, receivers: int64 (E',).
        offsets: int64 (N + 1,); node v receives over edges offsets[v] to offsets[v + 1].
    """

    senders: Tensor
    receivers: Tensor
    offsets: Tensor


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
        """The propagation operator of a kind, sparse CSR float32 (N, N); see `operator_matrix`.

        `operator(kind) @ h` gives every node (row) what it receives from its neighbours.

        Raises InputError: no such kind.
        """
        return self.cached(_operator, kind)

    def transposed(self, kind: str) -> Tensor:
        """The transpose of `operator(kind)`, the same tensor where that is symmetric."""
        return self.cached(_transposed, kind)

    def attention_edges(self) -> AttentionEdges:
        """Edges sorted by receiver, with one self-loop at every node."""
        return self.cached(_attention_edges)

    def given_to(self, network: Callable[..., Any], arguments: Sequence[str]) -> Any:
        """What a network makes of this graph, whose `forward` takes `arguments`.

        One that takes `edge_index` is called as torch-geometric's are, by name with what it takes
        of dense `x`, `edge_index` and `batch`, the graph of each node; others with the graph.
        """
        if "edge_index" not in arguments:
            return network(self)
        offered = {"x": self.cached(_dense), "edge_index": self.edge_index, "batch": self.graph_of}
        made = network(**{name: it for name, it in offered.items() if name in arguments})
        return made[: self.seeds] if self.seeds is not None and isinstance(made, Tensor) else made

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
        tensors = {key: it for key, it in vars(self).items() if isinstance(it, Tensor)}
        moved: dict[str, Any] = {
            key: it.to(device, non_blocking=non_blocking) for key, it in tensors.items()
        }
        return replace(self, **moved)


def _dense(graph: Graph) -> Tensor:
    return graph.x.to_dense() if graph.sparse_features else graph.x


def adjacency(graph: Graph) -> sp.csr_array:
    """A°: float32 (N, N) with ones at the edges between different nodes, each row sorted."""
    senders, receivers = graph.edge_index.cpu().numpy()
    crossing = senders != receivers
    senders, receivers = senders[crossing], receivers[crossing]
    ones, shape = np.ones(len(senders), np.float32), (graph.num_nodes, graph.num_nodes)
    matrix = sp.coo_array((ones, (receivers, senders)), shape=shape).tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def looped(graph: Graph) -> NDArray[np.bool_]:
    """Whether a node has a self-loop, (N,)."""
    senders, receivers = graph.edge_index.cpu().numpy()
    has = np.zeros(graph.num_nodes, bool)
    has[senders[senders == receivers]] = True
    return has


def operator_matrix(graph: Graph, kind: str) -> sp.csr_array:
    """The propagation operator of one kind as a float32 (N, N) matrix.

    With A[v, u] = 1 for an edge u → v, A° the same without self-loops, d its row sums:

        gcn   (D + I)^-1/2 (A° + I) (D + I)^-1/2      Kipf & Welling, 2017
        mean  D^-1 A°, rows of zeros where d = 0       Hamilton et al., 2017 (GraphSAGE)
        sum   A, self-loops as given                    Xu et al., 2019 (GIN)

    Where only some of the edges are present, `graph.degree` holds what d is in the whole graph. It
    then takes the place of d in gcn, and what a node receives in gcn and sum is scaled by degree
    over the edges present: over uniformly sampled edges, the mean of the result is the whole
    graph's.
    """
    if kind not in KINDS:
        raise unknown_name("propagation operator", kind, KINDS)
    # A batch of graphs is new in every step and wants several kinds; one graph keeps its memory.
    matrix = graph.cached(adjacency).copy() if graph.graphs > 1 else adjacency(graph)
    present = np.diff(matrix.indptr)
    complete = present if graph.degree is None else graph.degree.cpu().numpy()
    if kind == "mean":
        matrix.data = np.repeat(_ratio(1, present), present).astype(np.float32)
        return matrix
    scale = np.repeat(_ratio(complete, present), present)
    if kind == "sum":
        matrix.data = scale.astype(np.float32)
        return _with_diagonal(matrix, looped(graph))
    root = 1 / np.sqrt(complete + 1.0)
    both = np.repeat(root, present) * root[matrix.indices]
    matrix.data = (both * scale).astype(np.float32)
    return _with_diagonal(matrix, root * root)


def _operator(graph: Graph, kind: str) -> Tensor:
    return csr_tensor(graph.cached(operator_matrix, kind)).to(graph.device)


def _transposed(graph: Graph, kind: str) -> Tensor:
    matrix = graph.cached(operator_matrix, kind)
    turned = matrix.T.tocsr()
    turned.sort_indices()
    same = all(
        np.array_equal(getattr(turned, part), getattr(matrix, part))
        for part in ("indptr", "indices", "data")
    )
    if same:
        return graph.operator(kind)
    return csr_tensor(turned).to(graph.device)


def _attention_edges(graph: Graph) -> AttentionEdges:
    matrix = _with_diagonal(adjacency(graph), np.ones(graph.num_nodes))
    offsets = matrix.indptr.astype(np.int64)
    receivers = np.repeat(np.arange(graph.num_nodes), np.diff(offsets))
    parts = (matrix.indices.astype(np.int64), receivers, offsets)
    return AttentionEdges(*(torch.from_numpy(part).to(graph.device) for part in parts))


def csr_tensor(matrix: sp.csr_array) -> Tensor:
    """A scipy matrix as a sparse CSR tensor that shares its memory."""
    offsets, columns, values = map(torch.from_numpy, (matrix.indptr, matrix.indices, matrix.data))
    return make_csr(offsets, columns, values, matrix.shape)


def make_csr(offsets: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """`torch.sparse_csr_tensor` without the remark that its layout is in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(offsets, columns, values, shape, check_invariants=False)


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of dense or sparse CSR features at `index`, in its order.

    Shapes: x: (N, F); index: int64 (n,); result: (n, F) of the layout of x.
    """
    if x.layout != torch.sparse_csr:
        return x.index_select(0, index)
    offsets = x.crow_indices()
    counts = offsets.diff()[index]
    places = ranges(offsets[:-1][index], counts)
    taken = torch.zeros(len(index) + 1, dtype=offsets.dtype, device=offsets.device)
    taken[1:] = counts.cumsum(0)
    shape = (len(index), x.shape[1])
    return make_csr(taken, x.col_indices()[places], x.values()[places], shape)


def ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """starts[0], starts[0] + 1, … (counts[0] numbers), starts[1], … as one int64 tensor."""
    counts = counts.long()
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    shift = starts - (ends - counts)
    steps = torch.arange(total, device=starts.device)
    return steps + shift.repeat_interleave(counts, output_size=total)


def _with_diagonal(matrix: sp.csr_array, diagonal: Values) -> sp.csr_array:
    """`matrix`, which has none, with a diagonal; its zeros are not stored."""
    if not diagonal.any():
        return matrix
    added = sp.diags_array(diagonal.astype(np.float32), format="csr", dtype=np.float32)
    added.eliminate_zeros()
    both = matrix + added
    both.sort_indices()
    return both


def _ratio(above: Values | int, below: Values) -> Values:
    """above / below as float64, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros(len(below)), where=below > 0)
