"""The raw files of OGB's molecule sets (Hu et al., 2020), such as `ogbg_molbace`.

`raw/edge.csv.gz` (ends within a graph, one direction), `num-edge-list.csv.gz` and
`num-node-list.csv.gz` (a line each graph), `node-feat.csv.gz` (nine categories of an atom),
`graph-label.csv.gz`, and `split/scaffold/{train,valid,test}.csv.gz`. Bonds' features are not read.
"""

from pathlib import Path

import numpy as np

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data.raw_files import read_integers, read_numbers

SPLITS = ("train", "valid", "test")


def is_ogb(folder: Path) -> bool:
    """Whether the folder holds files of this layout."""
    return (folder / "raw" / "graph-label.csv.gz").is_file()


def read_ogb(folder: Path) -> dict[str, Array]:
    """`node_label` (N, 9), `edge_index` in both directions, `ptr, y, split`; scaffold split.

    The categories of an atom are labels: one-hot columns in front of a linear layer are the sum
    of one embedding a category, which is how OGB's own encoder reads them.

    Raises:
        InputError: a file is missing or is no table of numbers, they do not fit, or there is
            more than one label a graph.
    """
    raw = folder / "raw"
    nodes = read_integers(raw / "num-node-list.csv.gz", 1)[:, 0]
    edges = read_integers(raw / "num-edge-list.csv.gz", 1)[:, 0]
    ends = read_integers(raw / "edge.csv.gz", 2).T
    labels = _labels(raw / "graph-label.csv.gz")
    if not len(nodes) == len(edges) == len(labels) or edges.sum() != ends.shape[1]:
        raise InputError(
            f"{raw}: {len(nodes)} node counts, {len(edges)} edge counts that add up to "
            f"{edges.sum()}, {ends.shape[1]} edges and {len(labels)} labels do not fit together."
        )
    ptr = np.append(0, np.cumsum(nodes))
    ends = ends + np.repeat(ptr[:-1], edges)
    return {
        "node_label": read_integers(raw / "node-feat.csv.gz"),
        "edge_index": np.concatenate([ends, ends[::-1]], 1),
        "ptr": ptr,
        "y": labels,
        "split": _split(folder / "split" / "scaffold", len(labels)),
    }


def _labels(path: Path) -> Array:
    values = read_numbers(path)
    if values.shape[1] != 1:
        raise InputError(f"{path}: {values.shape[1]} labels a graph; allowed: one.")
    return np.where(np.isnan(values), UNLABELLED, values)[:, 0]


def _split(folder: Path, graphs: int) -> Array:
    split = np.full(graphs, -1, np.int64)
    for number, part in enumerate(SPLITS):
        path = folder / f"{part}.csv.gz"
        members = read_integers(path, 1)[:, 0]
        if members.min() < 0 or members.max() >= graphs:
            raise InputError(f"{path}: names graph {members.max()}; allowed: 0 to {graphs - 1}.")
        split[members] = number
    return split
