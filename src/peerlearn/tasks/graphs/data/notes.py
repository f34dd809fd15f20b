"""What is told of graphs that were read: counts that show where a file is not what it was meant."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from peerlearn.data.account import EMPTY, counted
from peerlearn.data.arrays import Array
from peerlearn.objectives.labels import labelled_rows
from peerlearn.tasks.graphs.data.spec import GraphDataSpec


class NotedArrays(dict[str, Array]):
    """Arrays by name, and what their reader found and left out."""

    account = EMPTY


def graph_notes(
    given: Array, edges: Tensor, nodes: int, y: Tensor, spec: GraphDataSpec, graphs: int = 1
) -> list[str]:
    """Sentences about nodes, edges and labels.

    Args:
        given: (2, E), edges as in the file.
        edges: int64 (2, E), as they are used: no edge twice.
        nodes: how many there are.
        y: of the nodes of one graph, or of several graphs.
        graphs: how many there are.
    """
    senders, receivers = edges.numpy()
    pairs = senders * nodes + receivers
    loops = int((senders == receivers).sum())
    isolated = nodes - len(np.unique(edges.numpy()))
    ends = given.astype(np.int64)
    distinct = len(np.unique(ends[0] * nodes + ends[1]))
    blank = int((~labelled_rows(y)).sum())
    thing = "node" if graphs == 1 else "graph"
    counts = [counted(graphs, "graph")] * (graphs > 1)
    counts += [counted(nodes, "node"), counted(len(pairs), "edge")]
    odd = [
        (isolated, f"{counted(isolated, 'node')} without an edge"),
        (loops, f"{counted(loops, 'edge')} from a node to itself"),
        (given.shape[1] - distinct, f"{counted(given.shape[1] - distinct, 'edge')} twice or more"),
        (blank, f"{counted(blank, thing)} without a label"),
    ]
    said = [words for count, words in odd if count]
    notes = ["; ".join([", ".join(counts), *said])]
    one_way = ~np.isin(receivers * nodes + senders, pairs)
    if len(pairs) > loops and int(one_way.sum()) == len(pairs) - loops:
        notes.append(
            "no edge goes both ways; if edges have no direction, say data.directed=symmetric"
        )
    return notes


def split_notes(arrays: Mapping[str, Array], spec: GraphDataSpec) -> list[str]:
    """Which of several splits is used; nothing where there is one."""
    masks, column = arrays.get("train_mask"), arrays.get("split")
    several = masks.shape[1:] if masks is not None else ()
    several = column.shape[:-1] if column is not None else several
    if spec.split != "public" or not several or several[0] == 1:
        return []
    return [f"split {spec.split_index} of {several[0]}, counted from 0 (data.split_index)"]
