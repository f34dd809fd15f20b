"""Data sets from torch-geometric's `Data` objects, and public ones through its loaders and OGB's.

Objects are read by attribute: torch-geometric need not be installed, but for its loaders.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from peerlearn.data.account import Account
from peerlearn.data.arrays import Array
from peerlearn.errors import InputError, RunError
from peerlearn.tasks.graphs.data.arrays import graphs_dataset, node_dataset
from peerlearn.tasks.graphs.data.datasets import PARTS, GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.notes import NotedArrays
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.splits import MASKS


class PublicSet(NamedTuple):
    """A published data set: what its loader calls it, and how many nodes or graphs it has."""

    folder: str
    about: str
    classes: int
    items: int


CITATIONS = {
    "cora": PublicSet("Cora", "papers that cite each other, by topic", 7, 2_708),
    "citeseer": PublicSet("CiteSeer", "papers that cite each other, by topic", 6, 3_327),
    "pubmed": PublicSet("PubMed", "papers on diabetes that cite each other", 3, 19_717),
}
TU = {
    "mutag": PublicSet("MUTAG", "molecules, mutagenic or not", 2, 188),
    "ptc_mr": PublicSet("PTC_MR", "molecules, carcinogenic in rats or not", 2, 344),
    "proteins": PublicSet("PROTEINS", "proteins, enzymes or not", 2, 1_113),
    "enzymes": PublicSet("ENZYMES", "enzymes by what they catalyse", 6, 600),
    "nci1": PublicSet("NCI1", "molecules active against lung cancer or not", 2, 4_110),
    "nci109": PublicSet("NCI109", "molecules active against ovarian cancer or not", 2, 4_127),
    "imdb-binary": PublicSet("IMDB-BINARY", "circles of actors by genre", 2, 1_000),
    "imdb-multi": PublicSet("IMDB-MULTI", "circles of actors by genre", 3, 1_500),
}
MOLECULES = {
    "ogbg-molbace": PublicSet("ogbg_molbace", "molecules that bind BACE-1 or not", 2, 1_513),
    "ogbg-molbbbp": PublicSet("ogbg_molbbbp", "molecules that enter the brain or not", 2, 2_039),
    "ogbg-molhiv": PublicSet("ogbg_molhiv", "molecules that inhibit HIV or not", 2, 41_127),
}
MIXED = ("HeteroData", "TemporalData")
"""Kinds of graphs that networks here do not read."""
READ = ("x", "y", "edge_index", *MASKS, "num_nodes", "ptr", "batch")
"""What is read of a `Data`, and what only says its size."""
SETS = {**CITATIONS, **TU, **MOLECULES}


def node_dataset_from_data(data: Any, spec: GraphDataSpec | None = None) -> NodeDataset:
    """The node classification task of a `torch_geometric.data.Data`.

    Read are `x`, `y`, `edge_index` and the masks, which may have a column for each of several
    splits (`spec.split_index` chooses). Edge weights and attributes are not.

    Raises InputError: as for the same arrays in a file; see `peerlearn.tasks.graphs.data.arrays`.
    """
    spec = spec or GraphDataSpec(name="data")
    _refuse_mixed(data, "data")
    if is_data(data):
        return node_dataset(_node_arrays(data), spec, "data")
    if isinstance(data, Mapping) and "edge_index" in data:
        return node_dataset({key: _to_array(value) for key, value in data.items()}, spec, "data")
    try:
        several = len(data)
    except TypeError:
        several = 0
    if several == 1 and is_data(data[0]):  # a data set of one graph, as Planetoid is
        return node_dataset_from_data(data[0], spec)
    many = "; several graphs are for gml-graph" if several and is_data(data[0]) else ""
    raise InputError(
        f"data: found {_kind(data)}; nodes of one graph are a torch_geometric.data.Data with x, y, "
        f"edge_index and masks, or these arrays by name{many}"
    )


def graphs_dataset_from_data(
    graphs: Iterable[Any],
    spec: GraphDataSpec | None = None,
    split: Mapping[str, Tensor] | None = None,
) -> GraphsDataset:
    """The graph classification task of a list of `Data`, an `InMemoryDataset` or a `Batch`.

    Args:
        graphs: each with `edge_index`, one class `y`, and `x` or none of them; or a list for each
            of "train", "val" (or "valid") and "test".
        spec: options; folds are drawn where there is no `split`.
        split: positions of the graphs of "train", "val" (or "valid") and "test".

    Raises InputError: as for the same arrays in a file; see `peerlearn.tasks.graphs.data.arrays`.
    """
    _refuse_mixed(graphs, "data")
    if hasattr(graphs, "to_data_list"):  # a Batch
        graphs = graphs.to_data_list()
    if isinstance(graphs, Mapping) and graphs and set(graphs) <= {*PARTS, "valid"}:
        graphs, split = _in_parts(graphs)
    if is_data(graphs) or not hasattr(graphs, "__iter__"):
        one = "; the nodes of one graph are for gml-node" if is_data(graphs) else ""
        raise InputError(
            f"data: found {_kind(graphs)}; graphs that are classified are a list of "
            f"torch_geometric.data.Data, a Dataset of them, or {{'train': …, 'test': …}} of "
            f"these{one}"
        )
    if isinstance(graphs, Mapping) and "ptr" in graphs:
        arrays = {key: _to_array(value) for key, value in graphs.items()}
    else:
        arrays = _graphs_arrays(graphs, "data")
    if split is not None:
        arrays["split"] = _split_array(split, len(arrays["y"]), "data")
    return graphs_dataset(arrays, spec or GraphDataSpec(name="data"), "data")


def read_saved(path: Path, said: str) -> dict[str, Array]:
    """The arrays of a `.pt` file of one `Data`, or of a list of them.

    Nothing is unpickled but tensors and torch-geometric's own classes of data. `said` is what
    messages call the file. Raises InputError: torch-geometric is missing, or another content.
    """
    module = _module(said, "torch_geometric.data.data", '"peerlearn[graph]"')
    storage = import_module("torch_geometric.data.storage")
    names = (module.Data, module.DataEdgeAttr, module.DataTensorAttr, storage.GlobalStorage)
    try:
        with _loadable(names):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{said}: not a file of torch_geometric Data alone; nothing else is unpickled. Save "
            "its arrays: np.savez('mine.npz', x=…, y=…, edge_index=…, train_mask=…)"
        ) from error
    _refuse_mixed(found, said)
    if is_data(found):
        return _node_arrays(found)
    if isinstance(found, list):
        return _graphs_arrays(found, said)
    raise InputError(f"{said}: holds {_kind(found)}; expected a Data, or a list of them")


def fetch(name: str, root: Path) -> dict[str, Array]:
    """The arrays of a public data set of `SETS`, read from `root` or downloaded to it.

    Raises:
        InputError: torch-geometric, or OGB's package, is not installed.
        RunError: the data could not be downloaded or read.
    """
    datasets = _module(name, "torch_geometric.datasets", '"peerlearn[graph]"')
    ogb = _module(name, "ogb.graphproppred", "ogb") if name in MOLECULES else None
    try:
        if name in CITATIONS:
            return _node_arrays(datasets.Planetoid(str(root), CITATIONS[name].folder)[0])
        if name in TU:
            found = datasets.TUDataset(str(root), TU[name].folder, use_node_attr=True)
            return _graphs_arrays(found, name)
        return _molecules(ogb, name, root)
    except InputError:
        raise
    except Exception as error:  # whatever a loader can meet on its way through a network
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise RunError(f"{name}: could not be loaded or downloaded to {root} ({said}).") from error


def _molecules(ogb: Any, name: str, root: Path) -> dict[str, Array]:
    """Categories of atoms as labels, and OGB's scaffold split; see `raw_files`."""
    storage = import_module("torch_geometric.data.storage")
    data = import_module("torch_geometric.data.data")
    # OGB reads back what it has just written; torch 2.6 and later ask which classes may be in it.
    classes = [data.DataEdgeAttr, data.DataTensorAttr, storage.GlobalStorage]
    with _loadable(classes):
        found = ogb.PygGraphPropPredDataset(name, root=str(root))
    arrays = _graphs_arrays(found, name)
    arrays["node_label"] = arrays.pop("x")
    arrays["split"] = _split_array(found.get_idx_split(), len(arrays["y"]), name)
    return arrays


@contextmanager
def _loadable(classes: Iterable[Any]) -> Iterator[None]:
    """Let torch.load make objects of the classes; those it could make before stay allowed."""
    known = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([each for each in classes if each not in known]):
        yield


def _module(name: str, module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise InputError(f"{name}: loading it needs {module}: pip install {package}") from None


def is_data(given: Any) -> bool:
    """Whether something is a `Data`: one graph whose nodes are all of one kind."""
    mixed = _kind(given) in MIXED or isinstance(given, Mapping)
    return not mixed and (hasattr(given, "edge_index") and hasattr(given, "y"))


def _kind(given: Any) -> str:
    return type(given).__name__


def _refuse_mixed(given: Any, where: str) -> None:
    if _kind(given) in MIXED:
        raise InputError(
            f"{where}: found {_kind(given)}, a graph of several kinds of nodes or edges; networks "
            "here read one kind: give data.to_homogeneous(), with y and masks of the nodes to label"
        )


def _node_arrays(data: Any) -> dict[str, Array]:
    """The arrays of a `Data` object by name, unchecked."""
    arrays = {key: getattr(data, key, None) for key in ("x", "y", "edge_index", *MASKS)}
    found = {key: _to_array(value) for key, value in arrays.items() if value is not None}
    return _noted(found, [data])


def _noted(arrays: Mapping[str, Array], items: Sequence[Any]) -> NotedArrays:
    """The arrays, and what the objects hold beside them, which no network here reads."""
    noted = NotedArrays(arrays)
    unread = {key for item in items for key in getattr(item, "keys", list)() if key not in READ}
    if unread:
        noted.account = Account(notes=(f"not read of the Data: {', '.join(sorted(unread))}",))
    return noted


def _in_parts(parts: Mapping[str, Any]) -> tuple[list[Any], dict[str, Tensor]]:
    """The graphs of all parts one after the other, and which ones are of which part."""
    graphs: list[Any] = []
    split = {}
    for part, members in parts.items():
        first = len(graphs)
        graphs += members.to_data_list() if hasattr(members, "to_data_list") else members
        split[part] = torch.arange(first, len(graphs))
    return graphs, split


def _graphs_arrays(graphs: Iterable[Any], where: str) -> dict[str, Array]:
    """`edge_index, ptr, y` and, where all have it, `x` of many `Data` objects."""
    items = list(graphs)
    for item in items:
        _refuse_mixed(item, where)
        if not is_data(item):
            raise InputError(f"{where}: a list with a {_kind(item)}; expected one Data a graph.")
        if hasattr(item, "to_data_list"):
            raise InputError(
                f"{where}: batches of several graphs; give the graphs themselves, such as "
                "loader.dataset of a DataLoader"
            )
    if not items:
        raise InputError(f"{where}: an empty list; expected one Data object a graph.")
    for number, item in enumerate(items):
        for key in ("edge_index", "y"):
            if getattr(item, key, None) is None:
                raise InputError(f"{where}: graph {number} has no {key}.")
        shape = tuple(torch.as_tensor(item.y).shape)
        if any(size != 1 for size in shape):
            raise InputError(f"{where}: graph {number}: y of shape {shape}; allowed: one class.")
        if (item.x is None) != (items[0].x is None):
            raise InputError(f"{where}: graph {number} and graph 0 do not agree on having x.")
        if item.x is not None and item.x.shape[1:] != items[0].x.shape[1:]:
            raise InputError(
                f"{where}: graph {number}: x of shape {tuple(item.x.shape)}, but of graph 0 "
                f"{tuple(items[0].x.shape)}; all graphs need equal features."
            )
    sizes = np.array([item.num_nodes for item in items])
    ptr = np.append(0, np.cumsum(sizes))
    edges = [_to_array(item.edge_index) for item in items]
    for number, (ends, size) in enumerate(zip(edges, sizes, strict=True)):
        if ends.size and not (ends.min() >= 0 and ends.max() < size):
            raise InputError(
                f"{where}: graph {number}: edge_index names nodes {ends.min()} to {ends.max()}; "
                f"allowed: 0 to {size - 1}."
            )
    shift = np.repeat(ptr[:-1], [ends.shape[1] for ends in edges])
    arrays = {
        "edge_index": np.concatenate(edges, 1) + shift,
        "ptr": ptr,
        "y": _to_array(torch.cat([torch.as_tensor(item.y).reshape(1) for item in items])),
    }
    if items[0].x is not None:
        arrays["x"] = _to_array(torch.cat([item.x for item in items]))
    return _noted(arrays, items)


def _split_array(split: Mapping[str, Tensor], graphs: int, where: str) -> Array:
    """`split` as in a file, from positions by part."""
    column = np.full(graphs, -1, np.int64)
    names = {"train": 0, "val": 1, "valid": 1, "test": 2}
    for part, members in split.items():
        if part not in names:
            raise InputError(f"{where}: split: {part!r}; allowed: train, val (or valid), test.")
        index = _to_array(members)
        if index.min(initial=0) < 0 or index.max(initial=0) >= graphs:
            raise InputError(f"{where}: split: {part} names a graph outside 0 to {graphs - 1}.")
        column[index] = names[part]
    return column


def _to_array(value: Any) -> Any:
    """A tensor as a numpy array, or as a scipy CSR array where it is sparse."""
    if not isinstance(value, Tensor):
        return value.to_scipy("csr") if hasattr(value, "to_scipy") else np.asarray(value)
    value = value.detach().cpu()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    if value.layout == torch.strided:
        return value.numpy()
    coo = value.to_sparse_coo().coalesce()
    ends = tuple(coo.indices().numpy())
    return sp.csr_array(sp.coo_array((coo.values().numpy(), ends), shape=tuple(coo.shape)))
