"""Finds a graph data set by name or path, downloads it where it must, and builds its splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from peerlearn.data.graphs import embedded, public
from peerlearn.data.graphs.arrays import graphs_dataset, node_dataset
from peerlearn.data.graphs.datasets import GraphsDataset, NodeDataset
from peerlearn.data.graphs.encoding import Encoding
from peerlearn.data.graphs.files import Arrays, holds_graphs, read_graph_arrays
from peerlearn.data.graphs.spec import GraphDataSpec
from peerlearn.data.npz import array_names
from peerlearn.data.roots import find_named, named_files, roots, writable_root
from peerlearn.errors import InputError, unknown_name

Task = Literal["node", "graph"]
TASKS: tuple[Task, ...] = get_args(Task)
GRAPHS = "graphs"
"""Folder below a root in which graph data sets are looked for, after the root itself."""


@dataclass(frozen=True)
class GraphDescription:
    """One line of `peerlearn ls data`.

    Attributes:
        name: what `data.name` takes.
        about: a few words.
        task: whether its nodes or its graphs are classified.
        classes, items: and how many nodes or graphs; None where only the file knows.
        place: the file or folder that would be read, "embedded" or "download".
    """

    name: str
    about: str
    task: Task
    classes: int | None
    items: int | None
    place: str


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
    return node_dataset(*_read(spec, "node"), known)


def load_graphs_dataset(spec: GraphDataSpec, known: Encoding | None = None) -> GraphsDataset:
    """The graph classification task that a `data` block asks for; see `load_node_dataset`."""
    return graphs_dataset(*_read(spec, "graph"), known)


def graph_dataset_names(task: Task, root: str | None = None) -> tuple[str, ...]:
    """Every name that `data.name` takes for a task: embedded, public, or a file below the root."""
    found = [
        name
        for name in named_files(root, GRAPHS)
        if (path := find_named(name, root, GRAPHS)) and _is_for(path, task)
    ]
    known = public.NODE_TASKS if task == "node" else public.GRAPH_TASKS
    return tuple(dict.fromkeys([*_embedded(task), *known, *found]))


def describe_graph_datasets(root: str | None = None) -> tuple[GraphDescription, ...]:
    """A `GraphDescription` of each of `graph_dataset_names`, those of node tasks first."""
    return tuple(
        _described(name, task, root) for task in TASKS for name in graph_dataset_names(task, root)
    )


def get_graph_dataset(name: str, root: str | None = None) -> Path:
    """The file or folder of a named graph data set, downloaded where it is not there yet.

    Args:
        name: a name of `graph_dataset_names` that is a file or can be downloaded.
        root: where to look and to write; default as in `GraphDataSpec.root`.

    Raises:
        InputError: unknown name, embedded data, or torch-geometric is not installed.
        RunError: the download failed.
    """
    if any(name in _embedded(task) for task in TASKS):
        raise InputError(f"{name}: made of scikit-learn's digits; there is nothing to download.")
    if found := _named(name, root):
        return found
    if name not in public.SETS:
        names = [name for task in TASKS for name in graph_dataset_names(task, root)]
        raise unknown_name("graph data set", name, names)
    folder = writable_root(root) / GRAPHS
    public.fetch(name, folder)
    return folder / public.SETS[name].folder


def _described(name: str, task: Task, root: str | None) -> GraphDescription:
    if name in (made := _embedded(task)):
        data = made[name]()
        classes, items = len(set(data["y"].tolist())), len(data["y"])
        return GraphDescription(name, embedded.ABOUT[name], task, classes, items, "embedded")
    found = _named(name, root)
    if name not in public.SETS:
        return GraphDescription(name, "your file", task, None, None, str(found))
    it = public.SETS[name]
    place = str(found) if found else "download"
    return GraphDescription(name, it.about, task, it.classes, it.items, place)


def _read(spec: GraphDataSpec, task: Task) -> tuple[Arrays, GraphDataSpec, str]:
    """(arrays, spec, what to call their source in messages)."""
    name = spec.name
    if name in (makers := _embedded(task)):
        return makers[name](), spec, name
    if found := _named(name, spec.root):
        return read_graph_arrays(found), spec, str(found)
    if name in public.SETS:
        _check_task(name, task)
        return public.fetch(name, writable_root(spec.root) / GRAPHS), spec, name
    path = Path(name).expanduser()
    if path.exists() or path.suffix or path.name != name:
        return read_graph_arrays(path, "data.name"), spec, str(path)
    _check_task(name, task)
    raise unknown_name(
        "graph data set or path", name, graph_dataset_names(task, spec.root), field="data.name"
    )


def _embedded(task: Task) -> dict[str, Callable[[], Arrays]]:
    return embedded.node_tasks() if task == "node" else embedded.graph_tasks()


def _named(name: str, root: str | None) -> Path | None:
    """The file, else the folder of raw files, of a name below the roots; None for neither."""
    if not name or Path(name).name != name:
        return None
    if file := find_named(name, root, GRAPHS):
        return file
    for base in roots(root):
        for place in (base, base / GRAPHS):
            for called in dict.fromkeys([name, _folder_name(name)]):
                if holds_graphs(folder := place / called):
                    return folder
    return None


def _folder_name(name: str) -> str:
    """What the loaders call the folder of a name."""
    return public.SETS[name].folder if name in public.SETS else name


def _check_task(name: str, task: Task) -> None:
    """A name of the other task is no unknown name."""
    other: Task = "graph" if task == "node" else "node"
    known = public.NODE_TASKS if other == "node" else public.GRAPH_TASKS
    if name in (*_embedded(other), *known):
        what = {"node": "nodes of one graph", "graph": "whole graphs"}
        raise InputError(
            f"data.name: {name}: its labels are those of {what[other]}, and this task "
            f"classifies {what[task]}; allowed: {', '.join(graph_dataset_names(task))}."
        )


def _is_for(path: Path, task: Task) -> bool:
    try:
        names = array_names(path)
    except InputError:
        return False
    return "edge_index" in names and ("ptr" in names) == (task == "graph")
