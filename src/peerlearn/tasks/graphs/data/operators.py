"""Sparse matrices that carry node states along the edges of a graph.

Rows are receivers and columns are senders, so `operator @ h` is what every node receives. All of
them are built once by counting sorts, in time and memory linear in the edges.
"""

import warnings
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.errors import unknown_name

Kind = Literal["gcn", "mean", "sum"]
KINDS: tuple[str, ...] = get_args(Kind)

Values = NDArray[Any]


class AttentionEdges(NamedTuple):
    """Edges ordered by receiver, then sender, with exactly one self-loop at every node.

    Shapes:
        senders, receivers: int64 (E',).
        offsets: int64 (N + 1,); node v receives over edges offsets[v] to offsets[v + 1].
    """

    senders: Tensor
    receivers: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str | None) -> "AttentionEdges":
        """The same edges on `device`."""
        return AttentionEdges(*(part.to(device) for part in self))


def adjacency(edge_index: Tensor, nodes: int) -> sp.csr_array:
    """A°: float32 (N, N) with ones at the edges between different nodes, each row sorted."""
    senders, receivers = edge_index.cpu().numpy()
    crossing = senders != receivers
    senders, receivers = senders[crossing], receivers[crossing]
    ones = np.ones(len(senders), np.float32)
    matrix = sp.coo_array((ones, (receivers, senders)), shape=(nodes, nodes)).tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def operator_matrix(
    kind: str, edge_index: Tensor, nodes: int, degree: Tensor | None = None
) -> sp.csr_array:
    """The propagation operator of one kind as a float32 (N, N) matrix.

    With A[v, u] = 1 for an edge u → v, A° the same without self-loops, d its row sums:

        gcn   (D + I)^-1/2 (A° + I) (D + I)^-1/2      Kipf & Welling, 2017
        mean  D^-1 A°, rows of zeros where d = 0       Hamilton et al., 2017 (GraphSAGE)
        sum   A, self-loops as given                    Xu et al., 2019 (GIN)

    Where only some of the edges are present, `degree` holds what d is in the whole graph. It then
    takes the place of d in gcn, and what a node receives in gcn and sum is scaled by degree over
    the edges present: over uniformly sampled edges, the mean of the result is the whole graph's.

    Args:
        kind: gcn, mean or sum.
        edge_index: int64 (2, E), senders above receivers; a repeated edge counts once.
        nodes: N.
        degree: int64 (N,), edges a node receives in the whole graph, self-loops not counted.
    """
    if kind not in KINDS:
        raise unknown_name("propagation operator", kind, KINDS)
    matrix = adjacency(edge_index, nodes)
    present = np.diff(matrix.indptr)
    complete = present if degree is None else degree.cpu().numpy()
    if kind == "mean":
        matrix.data = np.repeat(_ratio(1, present), present).astype(np.float32)
        return matrix
    scale = np.repeat(_ratio(complete, present), present)
    if kind == "sum":
        matrix.data = scale.astype(np.float32)
        return _with_diagonal(matrix, _looped(edge_index, nodes))
    root = 1 / np.sqrt(complete + 1.0)
    both = np.repeat(root, present) * root[matrix.indices]
    matrix.data = (both * scale).astype(np.float32)
    return _with_diagonal(matrix, root * root)


def attention_edges(edge_index: Tensor, nodes: int) -> AttentionEdges:
    """The edges that attention looks at; self-loops are added where there are none."""
    matrix = _with_diagonal(adjacency(edge_index, nodes), np.ones(nodes))
    offsets = matrix.indptr.astype(np.int64)
    receivers = np.repeat(np.arange(nodes), np.diff(offsets))
    parts = (matrix.indices.astype(np.int64), receivers, offsets)
    return AttentionEdges(*(torch.from_numpy(part) for part in parts))


def transposed_matrix(matrix: sp.csr_array) -> sp.csr_array:
    """The transpose; `matrix` itself where it is symmetric."""
    turned = _sorted(matrix.T.tocsr())
    same = (
        np.array_equal(turned.indptr, matrix.indptr)
        and np.array_equal(turned.indices, matrix.indices)
        and np.array_equal(turned.data, matrix.data)
    )
    return matrix if same else turned


def csr_tensor(matrix: sp.csr_array, device: torch.device | str | None = None) -> Tensor:
    """A scipy matrix as a sparse CSR tensor that shares its memory where it stays on the CPU."""
    return make_csr(
        torch.from_numpy(matrix.indptr),
        torch.from_numpy(matrix.indices),
        torch.from_numpy(matrix.data),
        matrix.shape,
    ).to(device)


def make_csr(offsets: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """`torch.sparse_csr_tensor` without the remark that its layout is in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(offsets, columns, values, shape, check_invariants=False)


def _looped(edge_index: Tensor, nodes: int) -> Values:
    """1 for every node with a self-loop, 0 for the others."""
    senders, receivers = edge_index.cpu().numpy()
    has = np.zeros(nodes)
    has[senders[senders == receivers]] = 1
    return has


def _with_diagonal(matrix: sp.csr_array, diagonal: Values) -> sp.csr_array:
    """`matrix`, which has none, with a diagonal; its zeros are not stored."""
    if not diagonal.any():
        return matrix
    added = sp.diags_array(diagonal.astype(np.float32), format="csr", dtype=np.float32)
    added.eliminate_zeros()
    return _sorted(matrix + added)


def _ratio(above: Values | int, below: Values) -> Values:
    """above / below as float64, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros(len(below)), where=below > 0)


def _sorted(matrix: sp.csr_array) -> sp.csr_array:
    matrix.sort_indices()
    return matrix
