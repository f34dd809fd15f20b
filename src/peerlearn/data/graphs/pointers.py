"""Checks which nodes belong to which of many graphs, and that no edge joins two of them."""

import numpy as np
import torch
from torch import Tensor

from peerlearn.data.arrays import Array
from peerlearn.data.graphs.edges import Direction, read_edges
from peerlearn.errors import InputError


def read_pointers(ptr: Array, graphs: int, where: str) -> Tensor:
    """`ptr` as int64 (G + 1,): graph g owns the nodes ptr[g] to ptr[g + 1] - 1.

    Args:
        ptr: as found.
        graphs: G.
        where: file and array, for messages.

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
