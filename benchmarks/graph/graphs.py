"""The graphs that are trained on: Cora, and random ones of any size."""

import numpy as np

from peerlearn.data.arrays import Array
from peerlearn.tasks.graphs.data import GraphDataSpec, load_node_dataset, node_dataset
from peerlearn.tasks.graphs.data.datasets import NodeDataset
from peerlearn.tasks.graphs.data.registry import NODE_SETS

NODES, FEATURES, CLASSES = 100_000, 100, 10
CORA = {"nodes": 2708, "edges": 10556, "features": 1433, "classes": 7}
CORA_FILLED = 0.0127
"""Share of Cora's features that are not zero."""


def cora(smallest: bool = False) -> tuple[NodeDataset, str]:
    """Cora where `PEERLEARN_DATA` has it, else a random graph of its size that costs the same."""
    if smallest:
        return _dataset(random_arrays(400, 100)), "a random graph of 100 nodes"
    if NODE_SETS.find("cora"):
        return load_node_dataset(GraphDataSpec(name="cora")), "Cora"
    arrays = random_arrays(**CORA)
    words = np.random.default_rng(1).random(arrays["x"].shape) < CORA_FILLED
    return _dataset(arrays | {"x": words.astype(np.float32)}), "a random graph of Cora's size"


def random_dataset(edges: int, nodes: int = NODES) -> NodeDataset:
    """A random graph of nodes with `FEATURES` dense features each."""
    return _dataset(random_arrays(edges, nodes))


def random_arrays(
    edges: int, nodes: int = NODES, features: int = FEATURES, classes: int = CLASSES
) -> dict[str, Array]:
    """A graph as an `.npz` file holds it, the same in every call.

    Args:
        edges: columns of edge_index. They join distinct pairs of nodes drawn uniformly, each in
            both directions.
        nodes: number of nodes; a tenth of them train, a tenth validate, the others test.
    """
    generator = np.random.default_rng(0)
    pairs = np.empty(0, np.int64)
    while len(pairs) < edges // 2:
        ends = generator.integers(nodes, size=(2, edges))
        drawn = ends.min(0) * nodes + ends.max(0)
        pairs = np.unique(np.append(pairs, drawn[ends[0] != ends[1]]))
    one, other = np.divmod(generator.permutation(pairs)[: edges // 2], nodes)
    return {
        "x": generator.standard_normal((nodes, features), dtype=np.float32),
        "y": generator.integers(classes, size=nodes),
        "edge_index": np.stack([np.append(one, other), np.append(other, one)]),
        "split": generator.permutation(np.minimum(np.arange(nodes) * 10 // nodes, 2)),
    }


def _dataset(arrays: dict[str, Array]) -> NodeDataset:
    return node_dataset(arrays, GraphDataSpec(), "random graph")
