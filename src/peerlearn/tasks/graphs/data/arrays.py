"""Checks plain arrays and turns them into graph data sets; every complaint names the array.

Node classification: `x` (N, F), `y` (N,), `edge_index` (2, E), and either `train_mask,
val_mask, test_mask` or `split`. Graph classification: `edge_index` over the nodes of all graphs,
`ptr` (G + 1,) where graph g owns the nodes ptr[g] to ptr[g + 1] - 1, `y` (G,), `node_label` (N,)
and/or `x`, and `fold`, `split`, masks or nothing. Both may hold `class_names`.

Classes are the labels that occur (see `peerlearn.data.classes`); -1 marks a node or graph without
one. What a trained network is to label may
come without labels and splits; where they are there, they are not read. Labels may be texts, of
which an empty one is no label.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.arrays import Array, of_texts, read_targets
from peerlearn.data.classes import Classes, classes_of, read_class_names
from peerlearn.errors import InputError, unknown_name
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.encoding import Encoding, encode
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.notes import graph_notes, split_notes
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.splits import (
    MASKS,
    SplitIndex,
    folds,
    given_split,
    held_out_nodes,
    keep,
    random_nodes,
)

NODE_KEYS = ("x", "y", "edge_index", *MASKS, "split", "class_names")
GRAPHS_KEYS = ("x", "node_label", "y", "edge_index", "ptr", "fold", *MASKS, "split", "class_names")
NO_EDGES = np.empty((2, 0), np.int64)


def node_dataset(
    arrays: Mapping[str, Array], spec: GraphDataSpec, where: str, known: Encoding | None = None
) -> NodeDataset:
    """The node classification task that the arrays hold.

    Args:
        arrays: by name; see the module.
        spec: options.
        where: file, for messages.
        known: features to make, in place of those that `spec` asks for.

    Raises InputError: the first thing that is wrong, with the array and what was found.
    """
    if "ptr" in arrays:
        raise InputError(
            f"{where}: holds many graphs ('ptr'), one label each; this task needs one graph with "
            "a label for each node."
        )
    featureless = known is not None or spec.features == "degree"
    needed = ("y", "edge_index") if featureless else ("x", "y", "edge_index")
    _check_names(arrays, needed, NODE_KEYS, where)
    y, classes = _labels(arrays, where, spec)
    edges = _read_edges(arrays, len(y), where, spec)
    x, encoding = encode(arrays, edges, len(y), where, spec, known)
    told = graph_notes(arrays["edge_index"], edges, len(y), y, spec)
    notes = [*told, *classes.notes, *split_notes(arrays, spec)]
    if spec.split == "random":
        split = random_nodes(y, spec, where)
    else:
        found = given_split(arrays, y, spec, where, "nodes")
        if found is None and known is not None:
            raise InputError(
                f"{where}: says nothing of train and test; needed: train_mask, val_mask and "
                "test_mask, or split, or data.split: random."
            )
        if found is None:
            found = held_out_nodes(y, spec)
            notes.append(
                "no split is given: val and test are held out of the labelled nodes, "
                f"{spec.val_size:g} each (data.val_size, data.split_seed)"
            )
        split = _labelled(found, y)
    split, y, left_out = keep(split, y, spec)
    parts, account = (
        _labelled(split, y),
        account_of(arrays) + Account(notes=tuple(notes)) + left_out,
    )
    named = len(classes), classes.names
    return NodeDataset(spec.short_name, Graph(x, edges), y, *parts, *named, encoding, account)


def graphs_dataset(
    arrays: Mapping[str, Array], spec: GraphDataSpec, where: str, known: Encoding | None = None
) -> GraphsDataset:
    """The graph classification task that the arrays hold; see `node_dataset`.

    Raises InputError: the first thing that is wrong, with the array and what was found.
    """
    if "ptr" not in arrays and "edge_index" in arrays and "fold" not in arrays:
        raise InputError(
            f"{where}: array 'ptr' is missing; needed: edge_index, ptr, y, and node_label or x. "
            "Without ptr this is one graph, for a task on nodes."
        )
    _check_names(arrays, ("edge_index", "ptr", "y"), GRAPHS_KEYS, where)
    y, classes = _labels(arrays, where, spec)
    ptr = _read_pointers(arrays["ptr"], len(y), f"{where}: ptr")
    edges = _read_edges_within(arrays, ptr, where, spec)
    x, encoding = encode(arrays, edges, int(ptr[-1]), where, spec, known)
    told = graph_notes(arrays["edge_index"], edges, int(ptr[-1]), y, spec, len(y))
    notes = [*told, *classes.notes, *split_notes(arrays, spec)]
    split = given_split(arrays, y, spec, where, "graphs") if spec.split == "public" else None
    if split is None:
        fold = arrays.get("fold") if spec.split == "public" else None
        split = folds(y, fold, spec, where)
    split, y, left_out = keep(split, y, spec)
    account = account_of(arrays) + Account(notes=tuple(notes)) + left_out
    named = len(classes), classes.names
    return GraphsDataset(spec.short_name, x, edges, ptr, y, *split, *named, encoding, account)


def unlabelled_nodes(
    arrays: Mapping[str, Array], encoding: Encoding, spec: GraphDataSpec, where: str
) -> NodeDataset:
    """One graph, all of whose nodes are test nodes without a label.

    Args:
        arrays: what features are made of, and `edge_index`; without it there are no edges.
        encoding: of the networks that will label.
        spec: whether edges go both ways.
        where: file, for messages.

    Raises InputError: the first thing that is wrong, with the array and what was found.
    """
    if "ptr" in arrays:
        raise InputError(
            f"{where}: holds many graphs ('ptr'), but the run was trained on the nodes of one"
        )
    _check_names(arrays, encoding.arrays or ("edge_index",), NODE_KEYS, where)
    # Rows of the first array that has one a node; else up to the last node that has an edge.
    sized = [arrays[key] for key in (*encoding.arrays, "y") if key in arrays]
    if sized:
        nodes = sized[0].shape[0] if sized[0].ndim else 0
    else:
        nodes = int(arrays.get("edge_index", NO_EDGES).max(initial=-1)) + 1
    if not nodes:
        raise InputError(f"{where}: holds no node, so there is nothing to label")
    edges = _read_edges(arrays, nodes, where, spec)
    x, _ = encode(arrays, edges, nodes, where, spec, encoding)
    account = account_of(arrays)
    graph = Graph(x, edges)
    return NodeDataset(where, graph, *_all_test(nodes), encoding=encoding, account=account)


def unlabelled_graphs(
    arrays: Mapping[str, Array], encoding: Encoding, spec: GraphDataSpec, where: str
) -> GraphsDataset:
    """Many graphs, all of them test graphs without a label; see `unlabelled_nodes`."""
    _check_names(arrays, ("ptr", *(encoding.arrays or ("edge_index",))), GRAPHS_KEYS, where)
    ptr = _read_pointers(arrays["ptr"], max(arrays["ptr"].size - 1, 0), f"{where}: ptr")
    if len(ptr) < 2:
        raise InputError(f"{where}: holds no graph, so there is nothing to label")
    edges = _read_edges_within(arrays, ptr, where, spec)
    x, _ = encode(arrays, edges, int(ptr[-1]), where, spec, encoding)
    rows, account = _all_test(len(ptr) - 1), account_of(arrays)
    return GraphsDataset(where, x, edges, ptr, *rows, encoding=encoding, account=account)


def account_of(arrays: Mapping[str, Array]) -> Account:
    """What a reader of files found, where it says so."""
    account: Account = getattr(arrays, "account", EMPTY)
    return account


def _all_test(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """(y, train, val, test, classes) of rows that are to be labelled."""
    none, everything = torch.arange(0), torch.arange(count)
    return torch.full((count,), UNLABELLED), none, none, everything, 0


def _check_names(
    found: Mapping[str, object], needed: tuple[str, ...], allowed: tuple[str, ...], where: str
) -> None:
    """No array is missing, and none is there that nobody would read."""
    for name in found:
        if name not in allowed:
            raise unknown_name("array", name, allowed, field=where)
    for key in needed:
        if key not in found:
            other = " Or say data.features=degree." if key == "x" else ""
            raise InputError(
                f"{where}: array {key!r} is missing. Found: {', '.join(found) or 'nothing'}. "
                f"Needed: {', '.join(needed)}.{other}"
            )


def _labels(arrays: Mapping[str, Array], where: str, spec: GraphDataSpec) -> tuple[Tensor, Classes]:
    """Classes of nodes or graphs, `UNLABELLED` where there is none; and what these are."""
    y = arrays["y"]
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise InputError(f"{where}: y: shape {y.shape}; allowed: (N,), one class each.")
    names = read_class_names(arrays.get("class_names"), where)
    notes: tuple[str, ...] = ()
    if y.dtype.kind in "US":
        numbers, names, notes = of_texts({"y": y.reshape(-1)}, names, where)
        y = numbers["y"]
    labels = read_targets(y, f"{where}: y", blanks=True)
    classes = classes_of({"y": labels}, where, names, spec.classes, "there is no label")
    return classes.of(labels), replace(classes, notes=notes + classes.notes)


def _labelled(split: SplitIndex, y: Tensor) -> SplitIndex:
    """The split without the training nodes that have no label: the graph holds them anyway."""
    return split._replace(train=split.train[y[split.train] != UNLABELLED])


def _read_edges(arrays: Mapping[str, Array], nodes: int, where: str, spec: GraphDataSpec) -> Tensor:
    """Edges as int64 (2, E), senders above receivers, sorted by receiver, then sender.

    Repeated edges become one. Self-loops, isolated nodes and a graph without edges are allowed.
    """
    where, edge_index = f"{where}: edge_index", arrays.get("edge_index", NO_EDGES)
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        hint = " Transpose it." if edge_index.ndim == 2 and edge_index.shape[1] == 2 else ""
        raise InputError(
            f"{where}: shape {edge_index.shape}; allowed: (2,E), the sending nodes above the "
            f"receiving ones, and (2,0) for no edges.{hint}"
        )
    if edge_index.dtype.kind not in "iu" and edge_index.size:
        raise InputError(f"{where}: dtype {edge_index.dtype}; allowed: whole numbers.")
    ends = edge_index.astype(np.int64)
    outside = ((ends < 0) | (ends >= nodes)).any(0)
    if outside.any():
        first = int(outside.argmax())
        sender, receiver = ends[:, first].tolist()
        raise InputError(
            f"{where}: {int(outside.sum())} edges name nodes that do not exist: edge {first} "
            f"goes from {sender} to {receiver}; allowed: 0 to {nodes - 1}."
        )
    if spec.directed == "symmetric":
        ends = np.concatenate([ends, ends[::-1]], 1)
    # Two counting sorts instead of one of pairs: linear in the edges.
    ones = np.ones(ends.shape[1], np.int8)
    matrix = sp.coo_array((ones, (ends[1], ends[0])), shape=(nodes, nodes)).tocsr()
    matrix.sum_duplicates()
    received = np.repeat(np.arange(nodes), np.diff(matrix.indptr))
    return torch.from_numpy(np.stack([matrix.indices.astype(np.int64), received]))


def _read_edges_within(
    arrays: Mapping[str, Array], ptr: Tensor, where: str, spec: GraphDataSpec
) -> Tensor:
    """Edges over the nodes of many graphs, each edge within one of them."""
    edges = _read_edges(arrays, int(ptr[-1]), where, spec)
    graph_of = torch.arange(len(ptr) - 1).repeat_interleave(ptr.diff())
    senders, receivers = graph_of[edges]
    crossing = (senders != receivers).nonzero()[:, 0]
    if len(crossing):
        first = crossing[0]
        raise InputError(
            f"{where}: edge_index: {len(crossing)} edges join two graphs, such as node "
            f"{int(edges[0, first])} of graph {int(senders[first])} and node "
            f"{int(edges[1, first])} of graph {int(receivers[first])}; allowed: edges within one."
        )
    return edges


def _read_pointers(ptr: Array, graphs: int, where: str) -> Tensor:
    """`ptr` as int64 (G + 1,): graph g of `graphs` owns the nodes ptr[g] to ptr[g + 1] - 1."""
    if ptr.dtype.kind not in "iu" or ptr.shape != (graphs + 1,):
        raise InputError(
            f"{where}: {ptr.dtype} of shape {ptr.shape}; allowed: whole numbers of shape "
            f"({graphs + 1},), one more than the {graphs} labels in y."
        )
    places = ptr.astype(np.int64)
    sizes = np.diff(places)
    if places[0] != 0:
        raise InputError(f"{where}: begins with {places[0]}; allowed: 0.")
    if (sizes < 0).any():
        graph = int((sizes < 0).argmax())
        raise InputError(
            f"{where}: falls from {places[graph]} to {places[graph + 1]} at graph {graph}; "
            "allowed: ascending numbers, graph g owning the nodes ptr[g] to ptr[g + 1] - 1."
        )
    if (sizes == 0).any():
        raise InputError(
            f"{where}: {int((sizes == 0).sum())} graphs have no node, the first is graph "
            f"{int((sizes == 0).argmax())}; allowed: at least one each."
        )
    return torch.from_numpy(places)
