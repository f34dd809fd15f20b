"""Training batches of graph data, and the rows to evaluate on.

Batches are a pure function of (seed, epoch, step). A batch's only view is a `Graph`, and its
`index` holds positions in the data set: of nodes, or of graphs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from peerlearn.data.datasets import Batch
from peerlearn.data.loaders import Batches
from peerlearn.data.order import OrderWithin, ShuffledOrder, batch_order, check_batch_size, cycled
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset, Part
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.sampling import ALL, NeighbourSampler

Rows = Callable[[], Iterable[tuple[Graph, Tensor]]]


class NodeLoader:
    """Full batches: an epoch is one step on the whole graph.

    Args:
        data: the graph and its labels.

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
        data: the graph and its labels.
        batch_size: training nodes a batch; the last one of an epoch can be smaller.
        seed: with (epoch, step), the key of all randomness.
        fanout: neighbours a node at each hop, one hop a layer; see `NeighbourSampler`.
        unlabelled_per_batch: nodes outside train that join the seeds of each batch, so that
            peers can compare themselves there; they are cycled in a fresh order every time.

    Shapes of a batch:
        y: (B,), one for each seed, `UNLABELLED` for nodes outside train.
        index: (B,), the seeds.

    Raises:
        InputError: a size below 1, or more unlabelled nodes than there are.
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
        seeds = SeedOrder(OrderWithin(order, data.train), rest, unlabelled_per_batch, seed)
        sampler = NeighbourSampler(data.graph, fanout)
        super().__init__(seeds, SampleMaker(sampler, data.targets("train"), seed))


@dataclass(frozen=True)
class SeedOrder:
    """The seeds of each step: training nodes, then some of those outside train.

    Attributes:
        train: order of the training nodes.
        rest: int64, the nodes outside train, ascending.
        extra: how many of them join each batch.
        seed: of their order.
    """

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


@dataclass(frozen=True)
class SampleMaker:
    """Turns seeds into a batch of their sampled neighbourhood."""

    sampler: NeighbourSampler
    targets: Tensor
    seed: int

    def __call__(self, epoch: int, step: int, seeds: Tensor) -> Batch:
        generator = keyed_generator(self.seed, "neighbours", epoch, step)
        graph, _ = self.sampler.sample(seeds, generator)
        return Batch((graph,), self.targets[seeds], seeds).to(graph.device)


class GraphBatchLoader(Batches):
    """Batches of whole training graphs, each batch one disjoint union.

    Args:
        data: the graphs and their labels.
        batch_size: graphs a batch; see `peerlearn.data.order.ShuffledOrder` for the last one.
        seed: with the epoch, the key of the order.
        drop_last: leave a short last batch out; an epoch still has at least one batch.
        labelled_per_batch: m > 0 puts m labelled graphs first, unlabelled ones after them.

    Shapes of a batch:
        y: (B,), `UNLABELLED` for graphs without a label.
        index: (B,), the graphs.

    Raises:
        InputError: an option that does not fit the data; see `batch_order`.
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
        super().__init__(OrderWithin(order, data.train), UnionMaker(data))


@dataclass(frozen=True)
class UnionMaker:
    """Turns positions of graphs into a batch that is their disjoint union."""

    data: GraphsDataset

    def __call__(self, epoch: int, step: int, index: Tensor) -> Batch:
        return Batch((self.data.select(index),), self.data.y[index], index)


def node_rows(data: NodeDataset, part: Part) -> Rows:
    """The whole graph once, as (graph, y) with y (N,), `UNLABELLED` outside the split."""
    graph = data.graph
    pair = (graph, data.targets(part).to(graph.device))
    return lambda: [pair]


def sampled_node_rows(data: NodeDataset, part: Part, batch_size: int, hops: int) -> Rows:
    """The nodes of a split in batches, each with its whole neighbourhood of `hops` hops.

    The outputs of a network of `hops` layers are those on the whole graph.

    Shapes:
        y: (B,), the labels of the seeds; the last batch can be smaller.
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
        graphs = [data.select(index) for index in parts]
        return [(g, data.y[index].to(g.device)) for g, index in zip(graphs, parts, strict=True)]

    return rows
