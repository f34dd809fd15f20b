"""Checks the edges of one graph or of many, and brings them into one order, each of them once."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError

Direction = Literal["keep", "symmetric"]


def read_edges(edge_index: Array, nodes: int, where: str, directed: Direction = "keep") -> Tensor:
    """Edges as int64 (2, E), senders above receivers, sorted by receiver, then sender.

    Repeated edges become one. Self-loops, isolated nodes and a graph without edges are allowed.

    Args:
        edge_index: (2, E) node numbers; messages flow from row 0 to row 1.
        nodes: number of nodes.
        where: file and array, for messages.
        directed: "symmetric" adds the opposite of every edge.

    Raises:
        InputError: not whole numbers, another shape, or a node that does not exist.
    """
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        hint = " Transpose it." if edge_index.ndim == 2 and edge_index.shape[1] == 2 else ""
        raise InputError(
            f"{where}: shape {edge_index.shape}; allowed: (2,E), the sending nodes above the "
            f"receiving ones, and (2,0) for no edges.{hint}"
        )
    if edge_index.dtype.kind not in "iu" and edge_index.size:
        raise InputError(f"{where}: dtype {edge_index.dtype}; allowed: whole numbers.")
    ends = edge_index.astype(np.int64)
    outside = ((ends < 0) | (ends >= nodes)).any(0)
    if outside.any():
        first = int(outside.argmax())
        sender, receiver = ends[:, first].tolist()
        raise InputError(
            f"{where}: {int(outside.sum())} edges name nodes that do not exist: edge {first} "
            f"goes from {sender} to {receiver}; allowed: 0 to {nodes - 1}."
        )
    senders, receivers = ends
    if directed == "symmetric":
        senders, receivers = np.append(senders, receivers), np.append(receivers, senders)
    return _each_once(senders, receivers, nodes)


def read_pointers(ptr: Array, graphs: int, where: str) -> Tensor:
    """`ptr` as int64 (G + 1,): graph g of `graphs` owns the nodes ptr[g] to ptr[g + 1] - 1.

    Raises:
        InputError: another shape or type, numbers that fall, or a graph without nodes.
    """
    if ptr.dtype.kind not in "iu" or ptr.shape != (graphs + 1,):
        raise InputError(
            f"{where}: {ptr.dtype} of shape {ptr.shape}; allowed: whole numbers of shape "
            f"({graphs + 1},), one more than the {graphs} labels in y."
        )
    places = ptr.astype(np.int64)
    sizes = np.diff(places)
    if places[0] != 0:
        raise InputError(f"{where}: begins with {places[0]}; allowed: 0.")
    if (sizes < 0).any():
        graph = int((sizes < 0).argmax())
        raise InputError(
            f"{where}: falls from {places[graph]} to {places[graph + 1]} at graph {graph}; "
            "allowed: ascending numbers, graph g owning the nodes ptr[g] to ptr[g + 1] - 1."
        )
    if (sizes == 0).any():
        raise InputError(
            f"{where}: {int((sizes == 0).sum())} graphs have no node, the first is graph "
            f"{int((sizes == 0).argmax())}; allowed: at least one each."
        )
    return torch.from_numpy(places)


def read_edges_within(edge_index: Array, ptr: Tensor, where: str, directed: Direction) -> Tensor:
    """`read_edges` over the nodes of many graphs, each edge within one of them.

    Raises:
        InputError: as `read_edges`, or an edge between two graphs.
    """
    edges = read_edges(edge_index, int(ptr[-1]), where, directed)
    graph_of = torch.arange(len(ptr) - 1).repeat_interleave(ptr.diff())
    senders, receivers = graph_of[edges]
    crossing = (senders != receivers).nonzero()[:, 0]
    if len(crossing):
        first = crossing[0]
        raise InputError(
            f"{where}: {len(crossing)} edges join two graphs, such as node "
            f"{int(edges[0, first])} of graph {int(senders[first])} and node "
            f"{int(edges[1, first])} of graph {int(receivers[first])}; allowed: edges within one."
        )
    return edges


def _each_once(senders: Array, receivers: Array, nodes: int) -> Tensor:
    """Two counting sorts instead of one of pairs: linear in the edges."""
    ones = np.ones(len(senders), np.int8)
    matrix = sp.coo_array((ones, (receivers, senders)), shape=(nodes, nodes)).tocsr()
    matrix.sum_duplicates()
    received = np.repeat(np.arange(nodes), np.diff(matrix.indptr))
    return torch.from_numpy(np.stack([matrix.indices.astype(np.int64), received]))
