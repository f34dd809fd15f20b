"""Draws the neighbourhood of some nodes, for graphs whose whole does not fit into a step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.features import ranges, take_rows
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.operators import adjacency

Positions = NDArray[np.int64]
ALL = -1
"""Fan-out that takes every neighbour."""


class NeighbourSampler:
    """Samples who sends to the seeds, who sends to those, and so on (Hamilton et al., 2017).

    At hop h every node that was reached for the first time at hop h - 1 receives over at most
    `fanout[h]` of its edges, drawn uniformly without replacement; those drawn at other hops
    receive over none. A network of as many layers as there are hops reads nothing else. The
    sampled graph carries the degrees that its nodes have in the whole one, so that with a
    fan-out of -1 the seeds' outputs are those of the whole graph, for every operator.

    Costs are linear in what is drawn, whatever the graph's size.

    Args:
        graph: the whole graph.
        fanout: neighbours a node at each hop, -1 for all.

    Raises:
        InputError: no hop, or a fan-out below 1 other than -1.
    """

    def __init__(self, graph: Graph, fanout: Sequence[int]) -> None:
        if not fanout or any(size < 1 and size != ALL for size in fanout):
            raise InputError(
                f"fanout: {list(fanout)}; allowed: neighbours a node for each hop, 1 or more, "
                "or -1 for all of them."
            )
        self.graph, self.fanout = graph, tuple(fanout)
        received = graph.cached(_received)
        self._offsets, self._senders = received.indptr.astype(np.int64), received.indices
        self._degree = torch.from_numpy(np.diff(self._offsets))
        self._looped = np.zeros(graph.num_nodes, bool)
        senders, receivers = graph.edge_index.cpu().numpy()
        self._looped[senders[senders == receivers]] = True
        # Where each node is in the sample being drawn, -1 for all that are not in it.
        self._place = np.full(graph.num_nodes, -1, np.int64)

    def sample(self, seeds: Tensor, generator: torch.Generator) -> tuple[Graph, Tensor]:
        """(sampled graph, int64 positions of its nodes in the whole one), the seeds (B,) first."""
        reached = [seeds.cpu().numpy()]
        try:
            edges = self._reach(reached, generator)
        finally:
            for part in reached:
                self._place[part] = -1
        nodes = np.concatenate(reached)
        loops = self._looped[nodes].nonzero()[0]
        edges = np.concatenate([edges, np.stack([loops, loops])], 1)
        positions = torch.from_numpy(nodes)
        return self._subgraph(positions, torch.from_numpy(edges), len(seeds)), positions

    def _reach(self, reached: list[Positions], generator: torch.Generator) -> Positions:
        """Edges (2, E) between places in the sample; each hop's new nodes join `reached`."""
        frontier = reached[0]
        self._place[frontier] = np.arange(len(frontier))
        edges = [np.empty((2, 0), np.int64)]
        count = len(frontier)
        for size in self.fanout:
            senders, receivers = self._draw(frontier, size, generator)
            frontier = np.unique(senders[self._place[senders] < 0])
            reached.append(frontier)
            self._place[frontier] = count + np.arange(len(frontier))
            count += len(frontier)
            edges.append(self._place[np.stack([senders, receivers])])
        return np.concatenate(edges, 1)

    def _subgraph(self, nodes: Tensor, edges: Tensor, seeds: int) -> Graph:
        whole, device = self.graph, self.graph.device
        return Graph(
            take_rows(whole.x, nodes.to(device)),
            edges.to(device),
            seeds=seeds,
            degree=self._degree[nodes].to(device),
        )

    def _draw(
        self, frontier: Positions, size: int, generator: torch.Generator
    ) -> tuple[Positions, Positions]:
        """Senders and receivers of the edges over which the frontier receives."""
        first = self._offsets[frontier]
        degree = self._offsets[frontier + 1] - first
        crowded = (degree > size) & (size != ALL)
        whole = ~crowded
        spans = ranges(torch.from_numpy(first[whole]), torch.from_numpy(degree[whole])).numpy()
        receivers = np.repeat(frontier[whole], degree[whole])
        if crowded.any():
            chosen = distinct_numbers(degree[crowded], size, generator)
            spans = np.append(spans, first[crowded, None] + chosen)
            receivers = np.append(receivers, np.repeat(frontier[crowded], size))
        return self._senders[spans].astype(np.int64), receivers


def _received(graph: Graph) -> Any:
    return adjacency(graph.edge_index, graph.num_nodes)


def distinct_numbers(limits: Positions, count: int, generator: torch.Generator) -> Positions:
    """`count` different numbers below each limit, every choice equally likely; (n, count).

    Floyd's method (Bentley & Floyd, 1987), for all limits (n,), each at least `count`, at once:
    its cost does not depend on them.
    """
    uniform = torch.rand(len(limits), count, dtype=torch.float64, generator=generator).numpy()
    chosen = np.empty((len(limits), count), np.int64)
    for place in range(count):
        top = limits - count + place
        drawn = (uniform[:, place] * (top + 1)).astype(np.int64)
        taken = (chosen[:, :place] == drawn[:, None]).any(1)
        chosen[:, place] = np.where(taken, top, drawn)
    return chosen
