"""How the arrays of a file become node features: chosen on the training data, then kept.

A network that was trained on one file must read another one through the same columns, whichever
labels and degrees happen to occur in it. Features are one float32 matrix, sparse where it pays.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.graph import csr_tensor
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

SOURCES = {"label": "node_label", "given": "x"}
"""Arrays that hold features, by what `data.features` calls them."""

Matrix: TypeAlias = Any
"""float32 (N, F), a numpy array or a `scipy.sparse.csr_array`."""

SPARSE_BELOW = 0.1
"""Share of values that are not zero below which wide features are kept sparse."""

WIDE = 100
"""Columns from which that is worth while."""

DEGREES = 256
"""Columns of one-hot degrees; nodes of a higher degree share the last one."""


class Encoding(BaseModel):
    """The columns of node features, in their order.

    Attributes:
        labels: for each column of `node_label` the values that are one-hot columns here.
        x: columns of `x`; 0 where it is not read.
        row_normalise: whether each row of x is divided by its sum.
        degrees: one-hot columns of in-degrees, the last one for all that are higher.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[tuple[int, ...], ...] = ()
    x: int = 0
    row_normalise: bool = False
    degrees: int = 0

    @property
    def columns(self) -> int:
        """How many there are."""
        return sum(map(len, self.labels)) + self.x + self.degrees

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that are read, beside the edges."""
        return tuple(key for key, used in (("node_label", self.labels), ("x", self.x > 0)) if used)


def encode(
    arrays: Mapping[str, Array],
    edges: Tensor,
    nodes: int,
    where: str,
    spec: GraphDataSpec,
    known: Encoding | None = None,
) -> tuple[Tensor, Encoding]:
    """Node features (N, F) and the encoding that made them.

    `spec` chooses the encoding by `features` and `row_normalise`, unless it is `known`: that of
    the data a network was trained on.

    Raises InputError: an array that is missing or cannot be read, or does not fit `known`.
    """
    keys = _asked_for(arrays, spec, where) if known is None else known.arrays
    for key in keys:
        _check_rows(arrays, key, nodes, where)
    blocks: list[Matrix] = []
    chosen: dict[str, Any] = {}
    if "node_label" in keys:
        place = f"{where}: node_label"
        columns = _label_columns(arrays["node_label"], place)
        occurring = (tuple(np.unique(column).tolist()) for column in columns)
        chosen["labels"] = values = tuple(occurring) if known is None else known.labels
        blocks += _one_hot(columns, values, place)
    if "x" in keys:
        rows = _read_features(arrays["x"], f"{where}: x")
        if known is not None and rows.shape[1] != known.x:
            raise InputError(
                f"{where}: x: {rows.shape[1]} columns, but the run was trained on {known.x}"
            )
        chosen["x"] = rows.shape[1]
        chosen["row_normalise"] = normalise = (
            known.row_normalise if known is not None else _normalises(rows, spec)
        )
        blocks.append(_row_normalised(rows) if normalise else rows)
    if not blocks:
        degree = np.bincount(edges[1].numpy(), minlength=nodes)
        # The values between occur or not: columns must not depend on that, only on the largest.
        widest = min(int(degree.max(initial=0)) + 1, DEGREES)
        chosen["degrees"] = width = widest if known is None else known.degrees
        blocks.append(_spread(np.minimum(degree, width - 1), width))
    return _joined(blocks), known or Encoding.model_validate(chosen)


def _asked_for(arrays: Mapping[str, Array], spec: GraphDataSpec, where: str) -> list[str]:
    """The arrays that `data.features` takes features from; none for degrees."""
    possible = [name for name, key in SOURCES.items() if key in arrays]
    if spec.features == "auto":
        return [SOURCES[name] for name in possible]
    if spec.features == "degree":
        return []
    if spec.features not in possible:
        raise InputError(
            f"data.features: {spec.features}, but {where} has no array "
            f"{SOURCES[spec.features]!r}; allowed: {', '.join(['auto', 'degree', *possible])}."
        )
    return [SOURCES[spec.features]]


def _check_rows(arrays: Mapping[str, Array], key: str, nodes: int, where: str) -> None:
    if key not in arrays:
        raise InputError(
            f"{where}: array {key!r} is missing, from which the run took its features. Found: "
            f"{', '.join(arrays) or 'nothing'}."
        )
    array = arrays[key]
    if array.ndim and array.shape[0] != nodes:
        raise InputError(f"{where}: {key} has {array.shape[0]} rows, but there are {nodes} nodes.")


def _read_features(x: Array | sp.csr_array, where: str) -> Matrix:
    """The user's features, (N, F) of any number type, dense or CSR, checked."""
    if x.dtype.kind not in "fiub":
        raise InputError(f"{where}: dtype {x.dtype}; allowed: numbers.")
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"{where}: shape {x.shape}; allowed: (N,F), one row of features a node.")
    rows: Matrix = np.asarray(x) if not sp.issparse(x) else x
    if sp.issparse(x) or _pays(int(np.count_nonzero(x)), x.shape):
        rows = sp.csr_array(x)
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False)
    bad = ~np.isfinite(_values(rows))
    if bad.any():
        first = int(np.unravel_index(bad.argmax(), bad.shape)[0])
        row = int((rows.indptr <= first).sum()) - 1 if sp.issparse(rows) else first
        raise InputError(
            f"{where}: {int(bad.sum())} values are NaN or infinite, the first in row {row}."
        )
    return rows


def _values(rows: Matrix) -> NDArray[np.float32]:
    """All values, of sparse features those that are stored."""
    values: NDArray[np.float32] = rows.data if sp.issparse(rows) else rows
    return values


def _normalises(rows: Matrix, spec: GraphDataSpec) -> bool:
    """Bags of words of 0 and 1 are divided by their sums, as is customary for citation graphs."""
    if spec.row_normalise == "auto":
        values = _values(rows)
        return bool(np.array_equal(values, values.astype(bool)))
    return spec.row_normalise


def _row_normalised(rows: Matrix) -> Matrix:
    """Every row divided by the sum of its absolute values; rows of zeros stay zero."""
    sums: NDArray[np.float64] = np.asarray(abs(rows).sum(1, dtype=np.float64)).ravel()
    scale = np.divide(1, sums, out=np.zeros(len(sums)), where=sums > 0).astype(np.float32)
    if not sp.issparse(rows):
        return rows * scale[:, None]
    scaled = rows.copy()
    scaled.data *= np.repeat(scale, np.diff(rows.indptr))
    return scaled


def _label_columns(labels: Array, where: str) -> Array:
    """(L, N), of labels (N,) or (N, L)."""
    if labels.dtype.kind not in "iub":
        raise InputError(f"{where}: dtype {labels.dtype}; allowed: whole numbers.")
    if labels.ndim not in (1, 2) or 0 in labels.shape:
        raise InputError(f"{where}: shape {labels.shape}; allowed: (N,), one label a node.")
    return labels.reshape(len(labels), -1).T.astype(np.int64)


def _one_hot(columns: Array, values: Sequence[Sequence[int]], where: str) -> list[sp.csr_array]:
    """For each column of labels a block, with a column for each of its `values`, ascending."""
    if len(columns) != len(values):
        raise InputError(
            f"{where}: {len(columns)} labels a node, but the run was trained on {len(values)}"
        )
    blocks = []
    for labels, allowed in zip(columns, values, strict=True):
        known = np.asarray(allowed)
        places = np.searchsorted(known, labels).clip(max=len(known) - 1)
        strange = known[places] != labels
        if strange.any():
            node, shown = int(strange.argmax()), ", ".join(map(str, allowed[:10]))
            raise InputError(
                f"{where}: node {node} has label {labels[node]}, which the run was not trained on: "
                f"{shown}{', …' if len(allowed) > 10 else ''}"
            )
        blocks.append(_spread(places, len(known)))
    return blocks


def _spread(columns: Array, width: int) -> sp.csr_array:
    """One-hot rows of the columns that hold the ones."""
    nodes = len(columns)
    ones = np.ones(nodes, np.float32)
    return sp.csr_array((ones, columns, np.arange(nodes + 1)), shape=(nodes, width))


def _joined(blocks: list[Matrix]) -> Tensor:
    """Blocks of features side by side: sparse CSR where that pays, else dense."""
    matrix = blocks[0] if len(blocks) == 1 else sp.csr_array(sp.hstack(blocks, format="csr"))
    if not sp.issparse(matrix):
        return torch.from_numpy(np.require(matrix, requirements=["C", "W"]))
    if _pays(matrix.nnz, matrix.shape):
        return csr_tensor(matrix)
    return torch.from_numpy(matrix.toarray())


def _pays(filled: int, shape: tuple[int, ...]) -> bool:
    return shape[1] >= WIDE and filled < SPARSE_BELOW * shape[0] * shape[1]
