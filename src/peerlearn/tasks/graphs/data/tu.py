"""The raw files of the TU collection of graph classification tasks (Morris et al., 2020).

`NAME_A.txt` (sender, receiver), `NAME_graph_indicator.txt` (the graph of each node),
`NAME_graph_labels.txt`, and where there are any `NAME_node_labels.txt` and
`NAME_node_attributes.txt`. Nodes and graphs are counted from 1. Edge labels and attributes are
not read.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.raw_files import homes, only_home, read_integers, read_numbers

Integers = NDArray[np.int64]


def is_tu(folder: Path) -> bool:
    """Whether the folder, or `raw` in it, holds files of this layout."""
    return any(homes(folder, "", "_A.txt"))


def read_tu(folder: Path) -> dict[str, Array]:
    """`edge_index, ptr, y, class_names` and, where the files are there, `node_label` and `x`.

    Self-loops are dropped, as is customary for these data. Classes are the graph labels in
    ascending order; -1 is a class here like any other.

    Raises:
        InputError: a file is missing or is no table of numbers, or they do not fit.
    """
    base = only_home(folder, "", "_A.txt", "NAME_A.txt …")
    graph_of = _file(base, "graph_indicator", 1)[:, 0]
    labels = _file(base, "graph_labels", 1)[:, 0]
    edges = _edges(base, len(graph_of))
    order = _node_order(graph_of, len(labels), base)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    names, y = np.unique(labels, return_inverse=True)
    arrays: dict[str, Array] = {
        "edge_index": place[edges],
        "ptr": np.searchsorted(graph_of[order], np.arange(len(labels) + 1), "right"),
        "y": y.ravel(),
        "class_names": names.astype(str),
    }
    for key, name, read in (
        ("node_label", "node_labels", read_integers),
        ("x", "node_attributes", read_numbers),
    ):
        path = Path(f"{base}_{name}.txt")
        if path.exists():
            values = read(path)
            if len(values) != len(order):
                raise InputError(f"{path}: {len(values)} lines for {len(order)} nodes.")
            arrays[key] = values[order]
    return arrays


def _file(base: Path, name: str, columns: int) -> Integers:
    return read_integers(Path(f"{base}_{name}.txt"), columns)


def _edges(base: Path, nodes: int) -> Integers:
    path = Path(f"{base}_A.txt")
    if path.stat().st_size == 0:
        return np.empty((2, 0), np.int64)
    edges = read_integers(path, 2).T
    outside = ((edges < 1) | (edges > nodes)).any(0)
    if outside.any():
        line = int(outside.argmax())
        raise InputError(
            f"{path}: line {line + 1} joins {edges[0, line]} and {edges[1, line]}; "
            f"allowed: 1 to {nodes}."
        )
    return edges[:, edges[0] != edges[1]] - 1


def _node_order(graph_of: Integers, graphs: int, base: Path) -> Integers:
    """Nodes sorted by graph."""
    outside = (graph_of < 1) | (graph_of > graphs)
    if outside.any():
        line = int(outside.argmax())
        raise InputError(
            f"{base}_graph_indicator.txt: line {line + 1} names graph {graph_of[line]}; "
            f"allowed: 1 to {graphs}, the lines of {base.name}_graph_labels.txt."
        )
    return np.argsort(graph_of, kind="stable")
