"""Reads the arrays of a graph data set from a path: an `.npz` file, or a folder of raw files.

Four layouts of raw files are known: two tables in csv (see `csv_files`), and those of Planetoid, of
the TU collection and of OGB.
"""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from peerlearn.data.arrays import Array
from peerlearn.data.catalogue import npz_at
from peerlearn.data.npz import read_arrays
from peerlearn.errors import InputError
from peerlearn.files import check_file
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.csv_files import (
    EDGES,
    NODES,
    read_tables,
    refuse_lone_table,
)
from peerlearn.tasks.graphs.data.pickled_arrays import read_pickle

Arrays = dict[str, Array]
Integers = NDArray[np.int64]

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph")
VAL_NODES = 500
OGB_SPLITS = ("train", "valid", "test")


def read_graph_arrays(path: Path, field: str | None = None) -> Arrays:
    """Every array by name, unchecked; see `peerlearn.tasks.graphs.data.arrays`.

    `field` is the configuration field that holds the path, for messages.

    Raises InputError: no such file or folder, one that holds no graphs, or files that are missing,
    damaged, not tables of numbers, or do not fit each other.
    """
    said = f"{field}: {path}" if field else str(path)
    if path.suffix == ".pt" and path.is_file():
        from peerlearn.tasks.graphs.data.geometric import read_saved

        return read_saved(path, said)
    refuse_lone_table(path, said)
    if not path.is_dir():
        return read_arrays(npz_at(path, "a folder of raw graph files", said))
    if _holds_tables(path):
        return read_tables(path, to_train=field is not None)
    if read := _reader_of(path):
        return read(path)
    raise InputError(
        f"{said}: holds no graph data; expected nodes.csv and edges.csv, or the raw files of "
        "Planetoid (ind.NAME.graph …), of TU (NAME_A.txt …) or of OGB molecules "
        "(raw/edge.csv.gz …)."
    )


def holds_graphs(folder: Path) -> bool:
    """Whether a folder holds raw files of a known layout."""
    return _holds_tables(folder) or _reader_of(folder) is not None


def _holds_tables(folder: Path) -> bool:
    return (folder / NODES).exists() or (folder / EDGES).exists()


def _reader_of(folder: Path) -> Callable[[Path], Arrays] | None:
    for patterns, read in (
        (("ind.*.graph", "raw/ind.*.graph"), _read_planetoid),
        (("*_A.txt", "raw/*_A.txt"), _read_tu),
        (("raw/graph-label.csv.gz",), _read_ogb),
    ):
        if any(list(folder.glob(pattern)) for pattern in patterns):
            return read
    return None


# Planetoid -------------------------------------------------------------------------------------


def _read_planetoid(folder: Path) -> Arrays:
    """`x, y, edge_index, split` of Cora, CiteSeer or PubMed, public split.

    The layout is that of Yang et al. (2016), "Planetoid", made popular by Kipf & Welling (2017):
    `ind.NAME.allx` and `.ally` hold the nodes outside test, those with training labels (`.x`,
    `.y`) first; `.tx` and `.ty` hold the test nodes in the order of `.test.index`; `.graph` maps
    every node to its neighbours.

    Train are the nodes of `x`, val the next 500 (or as many as `allx` has), test those of
    `test.index`. Edges go in both directions, self-loops and repetitions are dropped. Nodes that
    `test.index` skips, as CiteSeer's 15 isolated ones, have features of 0 and no label.
    """
    prefix = _only_home(folder, "ind.", ".graph", "ind.NAME.*")
    parts = {part: read_pickle(Path(f"{prefix}.{part}")) for part in PARTS}
    test = _read_integers(Path(f"{prefix}.test.index"), columns=1)[:, 0]
    _check_parts(parts, test, str(prefix))
    known, labelled = parts["allx"].shape[0], parts["x"].shape[0]
    nodes = max(known, int(test.max()) + 1)
    split = np.full(nodes, -1, np.int64)
    split[labelled : min(labelled + VAL_NODES, known)] = 1
    split[:labelled] = 0
    split[test] = 2
    places = np.append(np.arange(known), test)
    stacked = sp.vstack([sp.csr_array(parts["allx"]), sp.csr_array(parts["tx"])], format="coo")
    shape, ends = (nodes, stacked.shape[1]), (places[stacked.row], stacked.col)
    y = np.full(nodes, UNLABELLED, np.int64)
    dense = [it.toarray() if sp.issparse(it) else it for it in (parts["ally"], parts["ty"])]
    for rows, one_hot in zip((places[:known], test), dense, strict=True):
        y[rows] = np.where(one_hot.any(1), one_hot.argmax(1), UNLABELLED)
    return {
        "x": sp.coo_array((stacked.data, ends), shape=shape).tocsr(),
        "y": y,
        "edge_index": _neighbours(parts["graph"], nodes, f"{prefix}.graph"),
        "split": split,
    }


def _check_parts(parts: dict[str, Any], test: Array, prefix: str) -> None:
    for part in PARTS[:-1]:
        found = parts[part]
        if not (sp.issparse(found) or isinstance(found, np.ndarray)) or found.ndim != 2:
            raise InputError(f"{prefix}.{part}: expected a matrix with one row a node.")
    if not isinstance(parts["graph"], dict):
        raise InputError(f"{prefix}.graph: expected a dict from nodes to their neighbours.")
    for x, y in (("x", "y"), ("tx", "ty"), ("allx", "ally")):
        for part, axis, other in ((x, 1, "allx"), (y, 1, "ally"), (x, 0, y)):
            mine, theirs = parts[part].shape[axis], parts[other].shape[axis]
            if mine != theirs:
                what = ("rows", "columns")[axis]
                raise InputError(f"{prefix}.{part}: has {mine} {what}, but {other} has {theirs}.")
    known = parts["allx"].shape[0]
    if parts["x"].shape[0] > known:
        raise InputError(f"{prefix}.x: has more rows than allx, whose first ones they are.")
    if len(test) != parts["tx"].shape[0] or len(np.unique(test)) != len(test):
        raise InputError(
            f"{prefix}.test.index: {len(np.unique(test))} nodes in {len(test)} lines; expected "
            f"one for each of {parts['tx'].shape[0]} rows of tx."
        )
    if test.min() < known:
        raise InputError(
            f"{prefix}.test.index: names node {test.min()}, which is a row of allx; allowed: "
            f"{known} and above."
        )


def _neighbours(graph: dict[Any, Any], nodes: int, where: str) -> Array:
    """Edges in both directions."""
    try:
        counts = [len(neighbours) for neighbours in graph.values()]
        senders = np.repeat(np.array(list(graph), np.int64), counts)
        receivers = np.array([node for group in graph.values() for node in group], np.int64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: expected lists of node numbers.") from None
    ends = np.stack([senders, receivers])
    if ends.size and (ends.min() < 0 or ends.max() >= nodes):
        raise InputError(
            f"{where}: names node {ends.max() if ends.max() >= nodes else ends.min()}; "
            f"allowed: 0 to {nodes - 1}."
        )
    ends = ends[:, senders != receivers]
    return np.concatenate([ends, ends[::-1]], 1)


# TU --------------------------------------------------------------------------------------------


def _read_tu(folder: Path) -> Arrays:
    """`edge_index, ptr, y, class_names` and, where the files are there, `node_label` and `x`.

    The layout is that of the TU collection (Morris et al., 2020): `NAME_A.txt` (sender, receiver),
    `NAME_graph_indicator.txt` (the graph of each node), `NAME_graph_labels.txt`, and where there
    are any `NAME_node_labels.txt` and `NAME_node_attributes.txt`. Nodes and graphs are counted
    from 1. Edge labels and attributes are not read.

    Self-loops are dropped, as is customary for these data. Classes are the graph labels in
    ascending order; -1 is a class here like any other.
    """
    base = _only_home(folder, "", "_A.txt", "NAME_A.txt …")
    indicator, graph_labels, ends = (
        Path(f"{base}_{name}.txt") for name in ("graph_indicator", "graph_labels", "A")
    )
    graph_of = _read_integers(indicator, 1)[:, 0]
    labels = _read_integers(graph_labels, 1)[:, 0]
    edges = _read_integers(ends, 2).T if ends.stat().st_size else np.empty((2, 0), np.int64)
    if line := _first_outside(edges, len(graph_of)):
        raise InputError(
            f"{ends}: line {line} joins {edges[0, line - 1]} and {edges[1, line - 1]}; "
            f"allowed: 1 to {len(graph_of)}."
        )
    if line := _first_outside(graph_of[None], len(labels)):
        raise InputError(
            f"{indicator}: line {line} names graph {graph_of[line - 1]}; "
            f"allowed: 1 to {len(labels)}, the lines of {graph_labels.name}."
        )
    order = np.argsort(graph_of, kind="stable")
    names, y = np.unique(labels, return_inverse=True)
    arrays: Arrays = {
        "edge_index": np.argsort(order)[edges[:, edges[0] != edges[1]] - 1],
        "ptr": np.searchsorted(graph_of[order], np.arange(len(labels) + 1), "right"),
        "y": y.ravel(),
        "class_names": names.astype(str),
    }
    for key, name, read in (
        ("node_label", "node_labels", _read_integers),
        ("x", "node_attributes", _read_numbers),
    ):
        path = Path(f"{base}_{name}.txt")
        if path.exists():
            values = read(path)
            if len(values) != len(order):
                raise InputError(f"{path}: {len(values)} lines for {len(order)} nodes.")
            arrays[key] = values[order]
    return arrays


def _first_outside(numbers: Integers, largest: int) -> int:
    """The first line, from 1, of columns that hold a number outside 1 to `largest`; 0 for none."""
    outside = ((numbers < 1) | (numbers > largest)).any(0)
    return int(outside.argmax()) + 1 if outside.any() else 0


# OGB -------------------------------------------------------------------------------------------


def _read_ogb(folder: Path) -> Arrays:
    """`node_label` (N, 9), `edge_index` in both directions, `ptr, y, split`; scaffold split.

    The layout is that of OGB's molecule sets (Hu et al., 2020), such as `ogbg_molbace`:
    `raw/edge.csv.gz` (ends within a graph, one direction), `num-edge-list.csv.gz` and
    `num-node-list.csv.gz` (a line each graph), `node-feat.csv.gz` (nine categories of an atom),
    `graph-label.csv.gz`, and `split/scaffold/{train,valid,test}.csv.gz`. Bonds' features are not
    read.

    The categories of an atom are labels: one-hot columns in front of a linear layer are the sum
    of one embedding a category, which is how OGB's own encoder reads them.
    """
    raw = folder / "raw"
    nodes = _read_integers(raw / "num-node-list.csv.gz", 1)[:, 0]
    edges = _read_integers(raw / "num-edge-list.csv.gz", 1)[:, 0]
    ends = _read_integers(raw / "edge.csv.gz", 2).T
    labels = _read_numbers(raw / "graph-label.csv.gz")
    if labels.shape[1] != 1:
        raise InputError(
            f"{raw / 'graph-label.csv.gz'}: {labels.shape[1]} labels a graph; allowed: one."
        )
    graphs = len(labels)
    if not len(nodes) == len(edges) == graphs or edges.sum() != ends.shape[1]:
        raise InputError(
            f"{raw}: {len(nodes)} node counts, {len(edges)} edge counts that add up to "
            f"{edges.sum()}, {ends.shape[1]} edges and {graphs} labels do not fit together."
        )
    ptr = np.append(0, np.cumsum(nodes))
    ends = ends + np.repeat(ptr[:-1], edges)
    split = np.full(graphs, -1, np.int64)
    for number, part in enumerate(OGB_SPLITS):
        path = folder / "split" / "scaffold" / f"{part}.csv.gz"
        members = _read_integers(path, 1)[:, 0]
        if members.min() < 0 or members.max() >= graphs:
            raise InputError(f"{path}: names graph {members.max()}; allowed: 0 to {graphs - 1}.")
        split[members] = number
    return {
        "node_label": _read_integers(raw / "node-feat.csv.gz"),
        "edge_index": np.concatenate([ends, ends[::-1]], 1),
        "ptr": ptr,
        "y": np.where(np.isnan(labels), UNLABELLED, labels)[:, 0],
        "split": split,
    }


# Files -----------------------------------------------------------------------------------------


def _only_home(folder: Path, begin: str, end: str, files: str) -> Path:
    """Of the one file `BEGIN…END` in the folder, or in `raw` in it, the path without END."""
    found = [
        path.with_name(path.name.removesuffix(end))
        for place in (folder, folder / "raw")
        for path in sorted(place.glob(f"{begin}*{end}"))
    ]
    if len(found) != 1:
        raise InputError(
            f"{folder}: expected one data set of files {files}; "
            f"found: {', '.join(map(str, found)) or 'none'}."
        )
    return found[0]


def _read_integers(path: Path, columns: int | None = None) -> Integers:
    """The file as int64 (lines, columns); None for any number of columns."""
    values = _read_numbers(path, columns)
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        line = int((~whole).any(1).argmax())
        raise InputError(
            f"{path}: line {line + 1} holds {values[line][~whole[line]][0]:g}; allowed: whole "
            "numbers."
        )
    return values.astype(np.int64)


def _read_numbers(path: Path, columns: int | None = None) -> NDArray[np.float64]:
    """A text file, perhaps gzipped, with numbers between commas or blanks, as (lines, columns)."""
    check_file(path)
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            lines = file.read().replace(",", " ").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a text file ({error}).") from None
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError(f"{path}: is empty.")
    try:
        values = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise InputError(f"{path}: not a table of numbers ({error}).") from None
    if columns is not None and values.shape[1] != columns:
        raise InputError(f"{path}: {values.shape[1]} numbers a line; allowed: {columns}.")
    return values
