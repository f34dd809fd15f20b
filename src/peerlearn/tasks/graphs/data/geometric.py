"""Data sets from torch-geometric's `Data` objects, read by attribute: it need not be installed."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.arrays import graphs_dataset, node_dataset
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.splits import MASKS


def node_dataset_from_data(data: Any, spec: GraphDataSpec | None = None) -> NodeDataset:
    """The node classification task of a `torch_geometric.data.Data`.

    Read are `x`, `y`, `edge_index` and the masks, which may have a column for each of several
    splits (`spec.split_index` chooses). Edge weights and attributes are not.

    Raises:
        InputError: as for the same arrays in a file; see `peerlearn.tasks.graphs.data.arrays`.
    """
    return node_dataset(node_arrays(data), spec or GraphDataSpec(name="data"), "data")


def graphs_dataset_from_data(
    graphs: Iterable[Any],
    spec: GraphDataSpec | None = None,
    split: Mapping[str, Tensor] | None = None,
) -> GraphsDataset:
    """The graph classification task of a list of `Data`, or of an `InMemoryDataset`.

    Args:
        graphs: each with `edge_index`, one class `y`, and `x` or none of them.
        spec: options; folds are drawn where there is no `split`.
        split: positions of the graphs of "train", "val" (or "valid") and "test".

    Raises:
        InputError: as for the same arrays in a file; see `peerlearn.tasks.graphs.data.arrays`.
    """
    arrays = graphs_arrays(graphs, "data")
    if split is not None:
        arrays["split"] = split_array(split, len(arrays["y"]), "data")
    return graphs_dataset(arrays, spec or GraphDataSpec(name="data"), "data")


def node_arrays(data: Any) -> dict[str, Array]:
    """The arrays of a `Data` object by name, unchecked."""
    arrays = {key: getattr(data, key, None) for key in ("x", "y", "edge_index", *MASKS)}
    return {key: to_array(value) for key, value in arrays.items() if value is not None}


def graphs_arrays(graphs: Iterable[Any], where: str) -> dict[str, Array]:
    """`edge_index, ptr, y` and perhaps `x` of many `Data` objects.

    Raises:
        InputError: none at all, one without edge_index or y, several labels a graph, or x in
            some of them only.
    """
    items = list(graphs)
    if not items:
        raise InputError(f"{where}: an empty list; expected one Data object a graph.")
    for number, item in enumerate(items):
        for key in ("edge_index", "y"):
            if getattr(item, key, None) is None:
                raise InputError(f"{where}: graph {number} has no {key}.")
        if item.y.numel() != 1:
            raise InputError(
                f"{where}: graph {number}: y of shape {tuple(item.y.shape)}; allowed: one class."
            )
        if (item.x is None) != (items[0].x is None):
            raise InputError(f"{where}: graph {number} and graph 0 do not agree on having x.")
    sizes = np.array([item.num_nodes for item in items])
    ptr = np.append(0, np.cumsum(sizes))
    edges = [to_array(item.edge_index) for item in items]
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
        "y": to_array(torch.cat([item.y.reshape(1) for item in items])),
    }
    if items[0].x is not None:
        arrays["x"] = to_array(torch.cat([item.x for item in items]))
    return arrays


def split_array(split: Mapping[str, Tensor], graphs: int, where: str) -> Array:
    """`split` as in a file, from positions by part."""
    column = np.full(graphs, -1, np.int64)
    names = {"train": 0, "val": 1, "valid": 1, "test": 2}
    for part, members in split.items():
        if part not in names:
            raise InputError(f"{where}: split: {part!r}; allowed: train, val (or valid), test.")
        index = to_array(members)
        if index.min(initial=0) < 0 or index.max(initial=0) >= graphs:
            raise InputError(f"{where}: split: {part} names a graph outside 0 to {graphs - 1}.")
        column[index] = names[part]
    return column


def to_array(value: Any) -> Any:
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
