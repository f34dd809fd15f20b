"""Training batches of graph data, and the rows to evaluate on; neighbourhoods are drawn for both.

Batches are a pure function of (seed, epoch, step). A batch's only view is a `Graph`, and its
`index` holds positions in the data set: of nodes, or of graphs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.datasets import Batch
from peerlearn.data.loaders import Batches
from peerlearn.data.order import OrderWithin, ShuffledOrder, batch_order, check_batch_size, cycled
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset, Part
from peerlearn.tasks.graphs.data.graph import Graph, adjacency, looped, ranges, take_rows

Rows = Callable[[], Iterable[tuple[Graph, Tensor]]]
Positions = NDArray[np.int64]
ALL = -1
"""Fan-out that takes every neighbour."""


class NodeLoader:
    """Full batches: an epoch is one step on the whole graph.

    Shapes of a batch:
        y: (N,), labels of the training nodes, `UNLABELLED` at all others.
        index: (N,), every node.
    """

    def __init__(self, data: NodeDataset) -> None:
        graph = data.graph
        everything = torch.arange(graph.num_nodes, device=graph.device)
        self._batch = Batch((graph,), data.targets("train").to(graph.device), everything)

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return islice([self._batch], start, None)


class SampledLoader(Batches):
    """Batches of training nodes with a sample of their neighbourhood.

    An epoch passes once over the training nodes. Whoever learns from a batch reads the same
    sampled graph.

    Args:
        batch_size: training nodes a batch; the last one of an epoch can be smaller.
        seed: with (epoch, step), the key of all randomness.
        fanout: neighbours a node at each hop, one hop a layer; see `NeighbourSampler`.
        unlabelled_per_batch: nodes outside train that join the seeds of each batch, so that
            peers can compare themselves there; they are cycled in a fresh order every time.

    Shapes of a batch:
        y: (B,), one for each seed, `UNLABELLED` for nodes outside train.
        index: (B,), the seeds.

    Raises InputError: a size below 1, or more unlabelled nodes than there are.
    """

    def __init__(
        self,
        data: NodeDataset,
        batch_size: int,
        seed: int,
        fanout: Sequence[int] = (10, 10),
        unlabelled_per_batch: int = 0,
    ) -> None:
        check_batch_size(batch_size)
        rest = data.rest()
        if not 0 <= unlabelled_per_batch <= len(rest):
            raise InputError(
                f"unlabelled_per_batch: {unlabelled_per_batch}; allowed: 0 to {len(rest)}, all "
                "nodes outside train."
            )
        order = ShuffledOrder(len(data.train), batch_size, seed, drop_last=False)
        sampler, targets = NeighbourSampler(data.graph, fanout), data.targets("train")

        def make(epoch: int, step: int, seeds: Tensor) -> Batch:
            graph, _ = sampler.sample(seeds, keyed_generator(seed, "neighbours", epoch, step))
            return Batch((graph,), targets[seeds], seeds).to(graph.device)

        super().__init__(
            SeedOrder(OrderWithin(order, data.train), rest, unlabelled_per_batch, seed), make
        )


@dataclass(frozen=True)
class SeedOrder:
    """The seeds of each step: training nodes, then `extra` of the rest, cycled by `seed`."""

    train: OrderWithin
    rest: Tensor
    extra: int
    seed: int

    def __len__(self) -> int:
        return len(self.train)

    def epoch(self, epoch: int) -> Sequence[Tensor]:
        steps = self.train.epoch(epoch)
        if not self.extra:
            return steps
        joining = cycled(self.rest, self.extra, len(steps), (self.seed, "unlabelled", epoch))
        # A node can end one cycle and begin the next: as a seed it comes once.
        return [torch.cat([a, b.unique()]) for a, b in zip(steps, joining, strict=True)]


class GraphBatchLoader(Batches):
    """Batches of whole training graphs, each batch one disjoint union.

    Args:
        batch_size: graphs a batch; see `peerlearn.data.order.ShuffledOrder` for the last one.
        seed: with the epoch, the key of the order.
        drop_last: leave a short last batch out; an epoch still has at least one batch.
        labelled_per_batch: m > 0 puts m labelled graphs first, unlabelled ones after them.

    Shapes of a batch:
        y: (B,), `UNLABELLED` for graphs without a label.
        index: (B,), the graphs.

    Raises InputError: an option that does not fit the data; see `batch_order`.
    """

    def __init__(
        self,
        data: GraphsDataset,
        batch_size: int,
        seed: int,
        drop_last: bool = True,
        labelled_per_batch: int = 0,
    ) -> None:
        y = data.y[data.train]
        order = batch_order(y, batch_size, seed, drop_last, labelled_per_batch)

        def make(epoch: int, step: int, index: Tensor) -> Batch:
            return Batch((data.select(index),), data.y[index], index)

        super().__init__(OrderWithin(order, data.train), make)


def node_rows(data: NodeDataset, part: Part) -> Rows:
    """The whole graph once, as (graph, y) with y (N,), `UNLABELLED` outside the split."""
    graph = data.graph
    pair = (graph, data.targets(part).to(graph.device))
    return lambda: [pair]


def sampled_node_rows(data: NodeDataset, part: Part, batch_size: int, hops: int) -> Rows:
    """The nodes of a split in batches, each with its whole neighbourhood of `hops` hops.

    The outputs of a network of `hops` layers are those on the whole graph.

    Shapes: y: (B,), the labels of the seeds; the last batch can be smaller.
    """
    check_batch_size(batch_size)
    sampler = NeighbourSampler(data.graph, [ALL] * hops)
    generator = torch.Generator()

    def rows() -> Iterator[tuple[Graph, Tensor]]:
        for seeds in data.members(part).split(batch_size):
            graph, _ = sampler.sample(seeds, generator)
            yield graph, data.y[seeds].to(graph.device)

    return rows


def graph_rows(data: GraphsDataset, part: Part, batch_size: int) -> Rows:
    """The graphs of a split in order, as (graph, y) with y (B,); the last batch can be smaller.

    Batches are made at first use and kept: their operators serve every later evaluation.
    """
    check_batch_size(batch_size)

    @cache
    def rows() -> list[tuple[Graph, Tensor]]:
        parts = data.members(part).split(batch_size)
        return [(data.select(index), data.y[index].to(data.x.device)) for index in parts]

    return rows


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

    Raises InputError: no hop, or a fan-out below 1 other than -1.
    """

    def __init__(self, graph: Graph, fanout: Sequence[int]) -> None:
        if not fanout or any(size < 1 and size != ALL for size in fanout):
            raise InputError(
                f"fanout: {list(fanout)}; allowed: neighbours a node for each hop, 1 or more, "
                "or -1 for all of them."
            )
        self.graph, self.fanout = graph, tuple(fanout)
        received = graph.cached(adjacency)
        self._offsets, self._senders = received.indptr.astype(np.int64), received.indices
        self._degree = torch.from_numpy(np.diff(self._offsets))
        self._looped = looped(graph)
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
