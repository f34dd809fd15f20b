"""Checks plain arrays and turns them into graph data sets; every complaint names the array.

Node classification: `x` (N, F), `y` (N,), `edge_index` (2, E), and either `train_mask,
val_mask, test_mask` or `split`. Graph classification: `edge_index` over the nodes of all graphs,
`ptr` (G + 1,) where graph g owns the nodes ptr[g] to ptr[g + 1] - 1, `y` (G,), `node_label` (N,)
and/or `x`, and `fold`, `split`, masks or nothing. Both may hold `class_names`.

Labels are 0..C-1; -1 marks a node or graph without one.
"""

from collections.abc import Mapping

from torch import Tensor

from peerlearn.data.arrays import Array, count_classes, read_class_names, read_targets
from peerlearn.errors import InputError, unknown_name
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.edges import read_edges, read_edges_within, read_pointers
from peerlearn.tasks.graphs.data.encoding import Encoding, encode
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.splits import (
    MASKS,
    SplitIndex,
    folds,
    given_split,
    keep,
    random_nodes,
)

NODE_KEYS = ("x", "y", "edge_index", *MASKS, "split", "class_names")
GRAPHS_KEYS = ("x", "node_label", "y", "edge_index", "ptr", "fold", *MASKS, "split", "class_names")


def node_dataset(
    arrays: Mapping[str, Array], spec: GraphDataSpec, where: str, known: Encoding | None = None
) -> NodeDataset:
    """The node classification task that the arrays hold.

    Args:
        arrays: by name; see the module.
        spec: options.
        where: file, for messages.
        known: features to make, in place of those that `spec` asks for.

    Raises:
        InputError: the first thing that is wrong, with the array and what was found.
    """
    if "ptr" in arrays:
        raise InputError(
            f"{where}: holds many graphs ('ptr'), one label each; this task needs one graph with "
            "a label for each node."
        )
    featureless = known is not None or spec.features == "degree"
    needed = ("y", "edge_index") if featureless else ("x", "y", "edge_index")
    check_names(arrays, needed, NODE_KEYS, where)
    y = _labels(arrays["y"], f"{where}: y")
    nodes = len(y)
    edges = read_edges(arrays["edge_index"], nodes, f"{where}: edge_index", spec.directed)
    x, encoding = encode(arrays, edges, nodes, where, spec, known)
    classes, names = _classes(y, arrays, where)
    if spec.split == "random":
        split = random_nodes(y, spec, where)
    else:
        found = given_split(arrays, y, spec, where, "nodes")
        if found is None:
            raise InputError(
                f"{where}: says nothing of train and test; needed: train_mask, val_mask and "
                "test_mask, or split, or data.split: random."
            )
        split = _labelled(found, y)
    split, y = keep(split, y, spec)
    split, graph = _labelled(split, y), Graph(x, edges)
    return NodeDataset(spec.short_name, graph, y, *split, classes, names, encoding)


def graphs_dataset(
    arrays: Mapping[str, Array], spec: GraphDataSpec, where: str, known: Encoding | None = None
) -> GraphsDataset:
    """The graph classification task that the arrays hold; see `node_dataset`.

    Raises:
        InputError: the first thing that is wrong, with the array and what was found.
    """
    if "ptr" not in arrays and "edge_index" in arrays and "fold" not in arrays:
        raise InputError(
            f"{where}: array 'ptr' is missing; needed: edge_index, ptr, y, and node_label or x. "
            "Without ptr this is one graph, for a task on nodes."
        )
    check_names(arrays, ("edge_index", "ptr", "y"), GRAPHS_KEYS, where)
    y = _labels(arrays["y"], f"{where}: y")
    ptr = read_pointers(arrays["ptr"], len(y), f"{where}: ptr")
    edges = read_edges_within(arrays["edge_index"], ptr, f"{where}: edge_index", spec.directed)
    x, encoding = encode(arrays, edges, int(ptr[-1]), where, spec, known)
    classes, names = _classes(y, arrays, where)
    split = given_split(arrays, y, spec, where, "graphs") if spec.split == "public" else None
    if split is None:
        fold = arrays.get("fold") if spec.split == "public" else None
        split = folds(y, fold, spec, where)
    split, y = keep(split, y, spec)
    return GraphsDataset(spec.short_name, x, edges, ptr, y, *split, classes, names, encoding)


def check_names(
    found: Mapping[str, object], needed: tuple[str, ...], allowed: tuple[str, ...], where: str
) -> None:
    """No array is missing, and none is there that nobody would read."""
    for name in found:
        if name not in allowed:
            raise unknown_name("array", name, allowed, field=where)
    for key in needed:
        if key not in found:
            raise InputError(
                f"{where}: array {key!r} is missing. Found: {', '.join(found) or 'nothing'}. "
                f"Needed: {', '.join(needed)}."
            )


def _labels(y: Array, where: str) -> Tensor:
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise InputError(f"{where}: shape {y.shape}; allowed: (N,), one class each.")
    return read_targets(y, where, blanks=True)


def _labelled(split: SplitIndex, y: Tensor) -> SplitIndex:
    """The split without the training nodes that have no label: the graph holds them anyway."""
    return split._replace(train=split.train[y[split.train] != UNLABELLED])


def _classes(y: Tensor, arrays: Mapping[str, Array], where: str) -> tuple[int, tuple[str, ...]]:
    """(C, class names)."""
    classes = count_classes(y, f"{where}: y", "there is no label")
    return classes, read_class_names(arrays.get("class_names"), classes, where)
