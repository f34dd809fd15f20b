"""Finds a graph data set by name or path, downloads it where it must, and builds its splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peerlearn.data.catalogue import Catalogue, Known, roots, writable_root
from peerlearn.data.npz import array_names
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data import public
from peerlearn.tasks.graphs.data.arrays import graphs_dataset, node_dataset
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.embedded import digits_grid, digits_knn
from peerlearn.tasks.graphs.data.encoding import Encoding
from peerlearn.tasks.graphs.data.files import Arrays, holds_graphs, read_graph_arrays
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

GRAPHS = "graphs"
"""Folder below a root in which graph data sets are looked for, after the root itself."""

Found = tuple[Arrays, str]
"""Arrays, and what to call their source in messages."""


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
        called = [name] if name not in public.SETS else [name, public.SETS[name].folder]
        places = (place / each for base in roots(root) for place in (base, base / GRAPHS)
                  for each in called)  # fmt: skip
        return next(filter(holds_graphs, places), None)

    def read(self, name: str, root: str | None, at: Callable[[Path], Found]) -> Found:
        """As `Catalogue.read`; a name of the other task is no unknown name."""
        for other in (NODE_SETS, GRAPH_SETS):
            if other is not self and name in other.known and not self.find(name, root):
                raise InputError(
                    f"data.name: {name}: its labels are those of {other.classified}, and this task "
                    f"classifies {self.classified}; allowed: {', '.join(self.names(root))}."
                )
        return super().read(name, root, at)


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


def _public(name: str) -> Known[Found]:
    it = public.SETS[name]

    def read(root: str | None) -> Found:
        return public.fetch(name, writable_root(root) / GRAPHS), name

    def get(root: str | None) -> Path:
        folder = writable_root(root) / GRAPHS
        public.fetch(name, folder)
        return folder / it.folder

    return Known(it.about, it.classes, (it.items,), read, get=get)


def _catalogue(
    name: str, about: str, make: Callable[[], Arrays], public_names: Sequence[str],
    many: bool, things: str, classified: str,
) -> GraphCatalogue:  # fmt: skip
    """The catalogue of a task, with one embedded data set."""
    embedded: Known[Found] = Known(about, 10, (1_797,), lambda root: (make(), name))
    known = {name: embedded} | {it: _public(it) for it in public_names}
    holds = partial(_holds, many=many)
    return GraphCatalogue("graph data set", GRAPHS, known, holds, things, classified)


NODE_SETS = _catalogue(
    "digits-knn", "handwritten digits, each joined with eight like it", digits_knn,
    public.NODE_TASKS, False, "nodes", "nodes of one graph",
)  # fmt: skip
GRAPH_SETS = _catalogue(
    "digits-grid", "handwritten digits as graphs of their inked pixels", digits_grid,
    public.GRAPH_TASKS, True, "graphs", "whole graphs",
)  # fmt: skip
