"""Node features: from numbers, labels or degrees to one float32 matrix, sparse where it pays."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.operators import csr_tensor, make_csr

Matrix: TypeAlias = Any
"""float32 (N, F), a numpy array or a `scipy.sparse.csr_array`."""

SPARSE_BELOW = 0.1
"""Share of values that are not zero below which wide features are kept sparse."""

WIDE = 100
"""Columns from which that is worth while."""

DEGREES = 256
"""Columns of one-hot degrees; nodes of a higher degree share the last one."""


def read_features(x: Array | sp.csr_array, where: str) -> Matrix:
    """The user's features, (N, F) of any number type, dense or CSR, as float32, checked.

    Raises:
        InputError: wrong type or shape, or values that are not finite.
    """
    if x.dtype.kind not in "fiub":
        raise InputError(f"{where}: dtype {x.dtype}; allowed: numbers.")
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"{where}: shape {x.shape}; allowed: (N,F), one row of features a node.")
    rows: Matrix
    if sp.issparse(x) or _pays(int(np.count_nonzero(x)), x.shape):
        rows = sp.csr_array(x)
        rows.data = _single(rows.data)
    else:
        rows = _single(np.asarray(x))
    _check_finite(rows, where)
    return rows


def is_binary(rows: Matrix) -> bool:
    """Whether all values are 0 or 1."""
    values = rows.data if sp.issparse(rows) else rows
    return bool(np.array_equal(values, values.astype(bool)))


def row_normalised(rows: Matrix) -> Matrix:
    """Every row divided by the sum of its absolute values; rows of zeros stay zero."""
    sums: NDArray[np.float64] = np.asarray(abs(rows).sum(1, dtype=np.float64)).ravel()
    scale = np.divide(1, sums, out=np.zeros(len(sums)), where=sums > 0).astype(np.float32)
    if not sp.issparse(rows):
        return rows * scale[:, None]
    scaled = rows.copy()
    scaled.data *= np.repeat(scale, np.diff(rows.indptr))
    return scaled


def label_values(labels: Array, where: str) -> tuple[tuple[int, ...], ...]:
    """The values that occur in each column of labels, ascending.

    Raises:
        InputError: labels that are no whole numbers, or of more than two axes.
    """
    columns = _label_columns(labels, where)
    return tuple(tuple(np.unique(column).tolist()) for column in columns)


def one_hot(labels: Array, values: Sequence[Sequence[int]], where: str) -> sp.csr_array:
    """A column for each of the `values`, ascending, of each column of labels (N,) or (N, L).

    Raises:
        InputError: a value that is none of these, or another number of columns.
    """
    columns = _label_columns(labels, where)
    if len(columns) != len(values):
        raise InputError(
            f"{where}: {len(columns)} labels a node, but the run was trained on {len(values)}"
        )
    blocks = [_indicators(*pair, where) for pair in zip(columns, values, strict=True)]
    return sp.csr_array(sp.hstack(blocks, format="csr"))


def degree_columns(edge_index: Tensor) -> int:
    """One-hot columns of in-degrees: one for each up to the largest, at most `DEGREES`."""
    # The values between occur or not: columns must not depend on that, only on the largest.
    return min(int(np.bincount(edge_index[1].numpy()).max(initial=0)) + 1, DEGREES)


def one_hot_degrees(edge_index: Tensor, nodes: int, columns: int) -> sp.csr_array:
    """The in-degree of every node as one of `columns`; higher ones share the last column."""
    degree = np.bincount(edge_index[1].numpy(), minlength=nodes)
    return _spread(np.minimum(degree, columns - 1), columns)


def join(blocks: list[Matrix]) -> Tensor:
    """Blocks of features side by side as a tensor: sparse CSR where that pays, else dense."""
    matrix = blocks[0] if len(blocks) == 1 else sp.csr_array(sp.hstack(blocks, format="csr"))
    if not sp.issparse(matrix):
        return torch.from_numpy(np.require(matrix, requirements=["C", "W"]))
    if _pays(matrix.nnz, matrix.shape):
        return csr_tensor(matrix)
    return torch.from_numpy(matrix.toarray())


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of dense or sparse CSR features at `index`, in its order.

    Shapes:
        x: (N, F); index: int64 (n,); result: (n, F) of the layout of x.
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


def _pays(filled: int, shape: tuple[int, ...]) -> bool:
    return shape[1] >= WIDE and filled < SPARSE_BELOW * shape[0] * shape[1]


def _single(values: Array) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _check_finite(rows: Matrix, where: str) -> None:
    values = rows.data if sp.issparse(rows) else rows
    bad = ~np.isfinite(values)
    if bad.any():
        first = int(np.unravel_index(bad.argmax(), bad.shape)[0])
        row = int((rows.indptr <= first).sum()) - 1 if sp.issparse(rows) else first
        raise InputError(
            f"{where}: {int(bad.sum())} values are NaN or infinite, the first in row {row}."
        )


def _label_columns(labels: Array, where: str) -> Array:
    """(L, N), checked."""
    if labels.dtype.kind not in "iub":
        raise InputError(f"{where}: dtype {labels.dtype}; allowed: whole numbers.")
    if labels.ndim not in (1, 2) or 0 in labels.shape:
        raise InputError(f"{where}: shape {labels.shape}; allowed: (N,), one label a node.")
    return labels.reshape(len(labels), -1).T.astype(np.int64)


def _indicators(labels: Array, values: Sequence[int], where: str) -> sp.csr_array:
    known = np.asarray(values)
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    strange = known[places] != labels
    if strange.any():
        node, shown = int(strange.argmax()), ", ".join(map(str, values[:10]))
        raise InputError(
            f"{where}: node {node} has label {labels[node]}, which the run was not trained on: "
            f"{shown}{', …' if len(values) > 10 else ''}"
        )
    return _spread(places, len(known))


def _spread(columns: Array, width: int) -> sp.csr_array:
    nodes = len(columns)
    ones = np.ones(nodes, np.float32)
    return sp.csr_array((ones, columns.ravel(), np.arange(nodes + 1)), shape=(nodes, width))
