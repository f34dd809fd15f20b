"""Graph files of a user, and runs on them that take well under a second."""

from typing import Any

import numpy as np

NODES, GRAPHS = 60, 40
NAMES = np.array(["ant", "bee", "cat"])
QUICK = ["threads=1", "epochs=3", "batch_size=16"]
TINY_NODES = [
    *QUICK,
    "peers.gcn.arguments={hidden: 6}",
    "peers.gat.arguments={hidden: 2, heads: 2}",
    "peers.sage=null",
]
TINY_GRAPHS = [
    *QUICK,
    "peers.gcn.arguments={hidden: 6}",
    "peers.gin.arguments={hidden: 6, layers: 2}",
    "peers.sage=null",
]


def node_arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Three kinds of nodes, most edges within a kind, twenty nodes a split; None removes."""
    draw = np.random.default_rng(0)
    y = np.arange(NODES) % 3
    ends = draw.integers(0, NODES, (2, 6 * NODES))
    near = (y[ends[0]] == y[ends[1]]) | (draw.random(6 * NODES) < 0.1)
    part = draw.permutation(np.repeat([0, 1, 2], NODES // 3))
    made = {
        "x": np.eye(3)[y].repeat(2, 1) + draw.random((NODES, 6)),
        "y": y,
        "edge_index": ends[:, near],
        "train_mask": part == 0,
        "val_mask": part == 1,
        "test_mask": part == 2,
        "class_names": NAMES,
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def graph_arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Rings whose nodes' labels tell the kind of the ring."""
    draw = np.random.default_rng(0)
    y = np.arange(GRAPHS) % 3
    ptr = np.append(0, np.cumsum(draw.integers(3, 7, GRAPHS)))
    nodes = np.arange(ptr[-1])
    following = nodes + 1
    following[ptr[1:] - 1] = ptr[:-1]
    made = {
        "edge_index": np.stack([nodes, following]),
        "ptr": ptr,
        "y": y,
        "node_label": (y.repeat(np.diff(ptr)) + draw.integers(0, 2, len(nodes))) % 4,
        "split": np.arange(GRAPHS) // 2 % 3,
        "class_names": NAMES,
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def with_value(array: np.ndarray, value: Any, *where: Any) -> np.ndarray:
    """A copy with one value changed."""
    array = array.astype(np.result_type(array, type(value)))
    array[where] = value
    return array
