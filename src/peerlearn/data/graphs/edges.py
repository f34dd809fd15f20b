"""Checks the edges of the user and brings them into one order, each of them once."""

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


def _each_once(senders: Array, receivers: Array, nodes: int) -> Tensor:
    """Two counting sorts instead of one of pairs: linear in the edges."""
    ones = np.ones(len(senders), np.int8)
    matrix = sp.coo_array((ones, (receivers, senders)), shape=(nodes, nodes)).tocsr()
    matrix.sum_duplicates()
    received = np.repeat(np.arange(nodes), np.diff(matrix.indptr))
    return torch.from_numpy(np.stack([matrix.indices.astype(np.int64), received]))
