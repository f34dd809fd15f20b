"""The raw files of Cora, CiteSeer and PubMed.

Their layout is that of Yang et al. (2016), "Planetoid", made popular by Kipf & Welling (2017):
`ind.NAME.allx` and `.ally` hold the nodes outside test, those with training labels (`.x`, `.y`)
first; `.tx` and `.ty` hold the test nodes in the order of `.test.index`; `.graph` maps every
node to its neighbours.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.pickled_arrays import read_pickle
from peerlearn.tasks.graphs.data.raw_files import homes, only_home, read_integers

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph")
VAL_NODES = 500


def is_planetoid(folder: Path) -> bool:
    """Whether the folder, or `raw` in it, holds files of this layout."""
    return any(homes(folder, "ind.", ".graph"))


def read_planetoid(folder: Path) -> dict[str, Array]:
    """`x, y, edge_index, split` of the data set in `folder` (or `folder/raw`), public split.

    Train are the nodes of `x`, val the next 500 (or as many as `allx` has), test those of
    `test.index`. Edges go in both directions, self-loops and repetitions are dropped. Nodes that
    `test.index` skips, as CiteSeer's 15 isolated ones, have features of 0 and no label.

    Raises:
        InputError: a file is missing, damaged or holds more than numbers, or they do not fit.
    """
    prefix = only_home(folder, "ind.", ".graph", "ind.NAME.*")
    parts = {part: read_pickle(Path(f"{prefix}.{part}")) for part in PARTS}
    test = read_integers(Path(f"{prefix}.test.index"), columns=1)[:, 0]
    _check_parts(parts, test, str(prefix))
    known, labelled = parts["allx"].shape[0], parts["x"].shape[0]
    nodes = max(known, int(test.max()) + 1)
    split = np.full(nodes, -1, np.int64)
    split[labelled : min(labelled + VAL_NODES, known)] = 1
    split[:labelled] = 0
    split[test] = 2
    return {
        "x": _placed(parts["allx"], parts["tx"], test, nodes),
        "y": _labels(parts["ally"], parts["ty"], test, nodes),
        "edge_index": _edges(parts["graph"], nodes, f"{prefix}.graph"),
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


def _placed(allx: Any, tx: Any, test: Array, nodes: int) -> Any:
    """Rows of `allx`, then those of `tx` where `test` puts them, zeros between."""
    values = sp.csr_array(sp.vstack([sp.csr_array(allx), sp.csr_array(tx)], format="csr"))
    row_of = np.append(np.arange(allx.shape[0]), test)
    stacked = values.tocoo()
    shape = (nodes, values.shape[1])
    return sp.coo_array((stacked.data, (row_of[stacked.row], stacked.col)), shape=shape).tocsr()


def _labels(ally: Any, ty: Any, test: Array, nodes: int) -> Array:
    labels = np.full(nodes, UNLABELLED, np.int64)
    for places, one_hot in ((np.arange(ally.shape[0]), ally), (test, ty)):
        dense = one_hot.toarray() if sp.issparse(one_hot) else one_hot
        labels[places] = np.where(dense.any(1), dense.argmax(1), UNLABELLED)
    return labels


def _edges(graph: dict[Any, Any], nodes: int, where: str) -> Array:
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
