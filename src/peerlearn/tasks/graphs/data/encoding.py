"""How the arrays of a file become node features: chosen on the training data, then kept.

A network that was trained on one file must read another one through the same columns, whichever
labels and degrees happen to occur in it.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.features import (
    Matrix,
    degree_columns,
    is_binary,
    join,
    label_values,
    one_hot,
    one_hot_degrees,
    read_features,
    row_normalised,
)
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

SOURCES = {"label": "node_label", "given": "x"}
"""Arrays that hold features, by what `data.features` calls them."""


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

    Raises:
        InputError: an array that is missing or cannot be read, or does not fit `known`.
    """
    keys = _asked_for(arrays, spec, where) if known is None else known.arrays
    for key in keys:
        _check_rows(arrays, key, nodes, where)
    blocks: list[Matrix] = []
    chosen: dict[str, Any] = {}
    if "node_label" in keys:
        labels, place = arrays["node_label"], f"{where}: node_label"
        chosen["labels"] = values = label_values(labels, place) if known is None else known.labels
        blocks.append(one_hot(labels, values, place))
    if "x" in keys:
        rows = read_features(arrays["x"], f"{where}: x")
        if known is not None and rows.shape[1] != known.x:
            raise InputError(
                f"{where}: x: {rows.shape[1]} columns, but the run was trained on {known.x}"
            )
        chosen["x"] = rows.shape[1]
        chosen["row_normalise"] = normalise = (
            known.row_normalise if known is not None else _normalises(rows, spec)
        )
        blocks.append(row_normalised(rows) if normalise else rows)
    if not blocks:
        chosen["degrees"] = width = degree_columns(edges) if known is None else known.degrees
        blocks.append(one_hot_degrees(edges, nodes, width))
    return join(blocks), known or Encoding.model_validate(chosen)


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


def _normalises(rows: Matrix, spec: GraphDataSpec) -> bool:
    """Bags of words of 0 and 1 are divided by their sums, as is customary for citation graphs."""
    return is_binary(rows) if spec.row_normalise == "auto" else spec.row_normalise
