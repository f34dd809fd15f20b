"""Graphs that a trained network is to label: features and edges, without labels and splits."""

from collections.abc import Mapping

import numpy as np
import torch

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.arrays import GRAPHS_KEYS, NODE_KEYS, check_names
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.edges import read_edges, read_edges_within, read_pointers
from peerlearn.tasks.graphs.data.encoding import Encoding, encode
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

NO_EDGES = np.empty((2, 0), np.int64)


def unlabelled_nodes(
    arrays: Mapping[str, Array], encoding: Encoding, spec: GraphDataSpec, where: str
) -> NodeDataset:
    """One graph, all of whose nodes are test nodes without a label.

    Args:
        arrays: what features are made of, and `edge_index`; without it there are no edges. Labels
            and splits may be there and are not read.
        encoding: of the networks that will label.
        spec: whether edges go both ways.
        where: file, for messages.

    Raises:
        InputError: the first thing that is wrong, with the array and what was found.
    """
    if "ptr" in arrays:
        raise InputError(
            f"{where}: holds many graphs ('ptr'), but the run was trained on the nodes of one"
        )
    check_names(arrays, _needed(encoding), NODE_KEYS, where)
    ends = arrays.get("edge_index", NO_EDGES)
    nodes = _count_nodes(arrays, encoding, ends)
    if not nodes:
        raise InputError(f"{where}: holds no node, so there is nothing to label")
    edges = read_edges(ends, nodes, f"{where}: edge_index", spec.directed)
    x, _ = encode(arrays, edges, nodes, where, spec, encoding)
    none, everything = torch.arange(0), torch.arange(nodes)
    y = torch.full((nodes,), UNLABELLED)
    return NodeDataset(
        where, Graph(x, edges), y, none, none, everything, classes=0, encoding=encoding
    )


def unlabelled_graphs(
    arrays: Mapping[str, Array], encoding: Encoding, spec: GraphDataSpec, where: str
) -> GraphsDataset:
    """Many graphs, all of them test graphs without a label; see `unlabelled_nodes`."""
    check_names(arrays, ("ptr", *_needed(encoding)), GRAPHS_KEYS, where)
    ptr = read_pointers(arrays["ptr"], max(arrays["ptr"].size - 1, 0), f"{where}: ptr")
    if len(ptr) < 2:
        raise InputError(f"{where}: holds no graph, so there is nothing to label")
    edges = read_edges_within(
        arrays.get("edge_index", NO_EDGES), ptr, f"{where}: edge_index", spec.directed
    )
    x, _ = encode(arrays, edges, int(ptr[-1]), where, spec, encoding)
    none, everything = torch.arange(0), torch.arange(len(ptr) - 1)
    y = torch.full((len(everything),), UNLABELLED)
    return GraphsDataset(
        where, x, edges, ptr, y, none, none, everything, classes=0, encoding=encoding
    )


def _needed(encoding: Encoding) -> tuple[str, ...]:
    """Degrees are made of edges, and other features of arrays."""
    return encoding.arrays or ("edge_index",)


def _count_nodes(arrays: Mapping[str, Array], encoding: Encoding, ends: Array) -> int:
    """Rows of the first array that has one a node; else up to the last node that has an edge."""
    for key in (*encoding.arrays, "y"):
        if key in arrays:
            return arrays[key].shape[0] if arrays[key].ndim else 0
    return int(ends.max(initial=-1)) + 1
