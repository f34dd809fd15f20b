"""Finds a graph data set by name or path, downloads it where it must, and builds its splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from peerlearn.data.arrays import Array
from peerlearn.data.catalogue import Catalogue, Known, roots, writable_root
from peerlearn.data.npz import array_names
from peerlearn.data.registry import read_digits
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data import geometric
from peerlearn.tasks.graphs.data.arrays import graphs_dataset, node_dataset
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.encoding import Encoding
from peerlearn.tasks.graphs.data.raw_files import Arrays, holds_graphs, read_graph_arrays
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.splits import random_nodes

GRAPHS = "graphs"
"""Folder below a root in which graph data sets are looked for, after the root itself."""

Found = tuple[Arrays, str]
"""Arrays, and what to call their source in messages."""

NEIGHBOURS = 8
HALF_OF_THE_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (down, right) to four of the eight pixels around one; the others are their opposites."""


@dataclass(frozen=True)
class GraphCatalogue(Catalogue[Found]):
    """The data sets of one task on graphs; a name may also be that of a folder of raw files.

    Attributes:
        classified: what the task classifies, in words.
    """

    classified: str = ""

    def find(self, name: str, root: str | None = None) -> Path | None:
        """The file, else the folder of raw files, of a name below the roots, or None."""
        file = super().find(name, root)
        if file or not name or Path(name).name != name:
            return file
        called = [name] if name not in geometric.SETS else [name, geometric.SETS[name].folder]
        places = (place / each for base in roots(root) for place in (base, base / GRAPHS)
                  for each in called)  # fmt: skip
        return next(filter(holds_graphs, places), None)

    def read(
        self, name: str, root: str | None, at: Callable[[Path], Found], field: str = "data.name"
    ) -> Found:
        """As `Catalogue.read`; a name of the other task is no unknown name."""
        for other in (NODE_SETS, GRAPH_SETS):
            if other is not self and name in other.known and not self.find(name, root):
                raise InputError(
                    f"{field}: {name}: its labels are those of {other.classified}, and this task "
                    f"classifies {self.classified}; allowed: {', '.join(self.names(root))}."
                )
        return super().read(name, root, at, field)


def load_node_dataset(spec: GraphDataSpec, known: Encoding | None = None) -> NodeDataset:
    """The node classification task that a `data` block asks for.

    A name is one of the embedded tasks, or `ROOT/NAME.npz` or `ROOT/graphs/NAME.npz`, or a
    folder of raw files called NAME in one of these places, or a public data set that
    torch-geometric downloads to `ROOT/graphs`; anything else is the path of an `.npz` file or of
    a folder of raw files.

    Args:
        spec: the `data` block.
        known: features to make, in place of those that `spec` asks for.

    Raises:
        InputError: no such data set, or something in it is wrong; names the file and array.
        RunError: a download failed.
    """
    arrays, where = NODE_SETS.read(spec.name, spec.root, _at)
    return node_dataset(arrays, spec, where, known)


def load_graphs_dataset(spec: GraphDataSpec, known: Encoding | None = None) -> GraphsDataset:
    """The graph classification task that a `data` block asks for; see `load_node_dataset`."""
    arrays, where = GRAPH_SETS.read(spec.name, spec.root, _at)
    return graphs_dataset(arrays, spec, where, known)


def _at(path: Path) -> Found:
    return read_graph_arrays(path, "data.name"), str(path)


def _holds(path: Path, many: bool) -> bool:
    """Whether a file holds one graph, or many of them."""
    try:
        names = array_names(path)
    except InputError:
        return False
    return "edge_index" in names and ("ptr" in names) == many


def _digits_knn() -> dict[str, Array]:
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


def _digits_grid() -> dict[str, Array]:
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
    parts = [part for part in read_digits()[:3] if part is not None]
    pixels = torch.cat([part.x for part in parts])[:, 0].numpy().astype(np.float32) / 255
    labels = torch.cat([part.y for part in parts]).numpy()
    return pixels, labels, np.repeat(np.arange(3), [len(part) for part in parts])


def _public(name: str, it: geometric.PublicSet) -> Known[Found]:
    def read(root: str | None) -> Found:
        return geometric.fetch(name, writable_root(root) / GRAPHS), name

    def get(root: str | None) -> Path:
        folder = writable_root(root) / GRAPHS
        geometric.fetch(name, folder)
        return folder / it.folder

    return Known(it.about, it.classes, (it.items,), read, get=get)


def _catalogue(
    name: str, about: str, make: Callable[[], Arrays], public: Mapping[str, geometric.PublicSet],
    many: bool, things: str, classified: str,
) -> GraphCatalogue:  # fmt: skip
    """The catalogue of a task, with one embedded data set."""
    embedded: Known[Found] = Known(about, 10, (1_797,), lambda root: (make(), name))
    known = {name: embedded} | {each: _public(each, it) for each, it in public.items()}
    holds = partial(_holds, many=many)
    return GraphCatalogue("graph data set", GRAPHS, known, holds, things, classified)


NODE_SETS = _catalogue(
    "digits-knn", "handwritten digits, each joined with eight like it", _digits_knn,
    geometric.CITATIONS, False, "nodes", "nodes of one graph",
)  # fmt: skip
GRAPH_SETS = _catalogue(
    "digits-grid", "handwritten digits as graphs of their inked pixels", _digits_grid,
    geometric.TU | geometric.MOLECULES, True, "graphs", "whole graphs",
)  # fmt: skip
