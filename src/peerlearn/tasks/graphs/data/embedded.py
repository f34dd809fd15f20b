"""Two small tasks that need no file: scikit-learn's digits as one graph, and as many."""

import numpy as np
import torch

from peerlearn.data.arrays import Array
from peerlearn.data.registry import read_digits
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.splits import random_nodes

NEIGHBOURS = 8
HALF_OF_THE_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (down, right) to four of the eight pixels around one; the others are their opposites."""


def digits_knn() -> dict[str, Array]:
    """1,797 images as nodes, each joined with its eight nearest ones, in both directions.

    `x` holds the 64 pixels in [0, 1]. Of each class, 20 images train, 30 are for validation and
    the rest for test; they are the same for every seed.
    """
    from sklearn.neighbors import kneighbors_graph

    pixels, y, _ = _digits()
    x = pixels.reshape(len(y), -1)
    near = kneighbors_graph(x, NEIGHBOURS).tocoo()
    split = np.empty(len(y), np.int64)
    for number, part in enumerate(random_nodes(torch.from_numpy(y), GraphDataSpec(), "digits")):
        split[part.numpy()] = number
    ends = np.stack([np.append(near.row, near.col), np.append(near.col, near.row)])
    return {"x": x, "y": y, "edge_index": ends, "split": split}


def digits_grid() -> dict[str, Array]:
    """1,797 images as graphs: their inked pixels, each joined with those of the eight around it.

    `x` holds ink, row and column, each in [0, 1]. The split is that of the data set `digits`.
    """
    pixels, y, split = _digits()
    image, row, column = pixels.nonzero()
    # One pixel of border on all sides, so that every step from a pixel stays inside the array.
    number = np.full((len(y), 10, 10), -1)
    number[image, row + 1, column + 1] = np.arange(len(image))
    pairs = []
    for down, right in HALF_OF_THE_NEIGHBOURS:
        neighbour = number[image, row + 1 + down, column + 1 + right]
        here = (neighbour >= 0).nonzero()[0]
        pairs.append(np.stack([here, neighbour[here]]))
    ends = np.concatenate(pairs, 1)
    return {
        "x": np.stack([pixels[image, row, column], row / 7, column / 7], 1).astype(np.float32),
        "y": y,
        "edge_index": np.concatenate([ends, ends[::-1]], 1),
        "ptr": np.append(0, np.cumsum(np.bincount(image, minlength=len(y)))),
        "split": split,
    }


def _digits() -> tuple[Array, Array, Array]:
    """Pixels (1797, 8, 8) in [0, 1], labels, and 0, 1, 2 for train, val and test."""
    train, val, test = (part for part in read_digits()[:3] if part is not None)
    parts = (train, val, test)
    pixels = torch.cat([part.x for part in parts])[:, 0].numpy().astype(np.float32) / 255
    labels = torch.cat([part.y for part in parts]).numpy()
    return pixels, labels, np.repeat(np.arange(3), [len(part) for part in parts])
