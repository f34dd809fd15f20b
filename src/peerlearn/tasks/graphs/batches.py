"""Batches of the recipes on graphs: which to train on, and which to evaluate on."""

from collections.abc import Callable, Iterable
from typing import Literal

from torch import Tensor

from peerlearn.data.datasets import BatchLoader
from peerlearn.tasks.graphs.config import GraphsConfig, NodeConfig
from peerlearn.tasks.graphs.data import (
    Graph,
    GraphBatchLoader,
    GraphsDataset,
    NodeDataset,
    NodeLoader,
    SampledLoader,
    graph_rows,
    node_rows,
    sampled_node_rows,
)

Part = Literal["train", "val", "test"]
Rows = Callable[[], Iterable[tuple[Graph, Tensor]]]


def node_loader(config: NodeConfig, data: NodeDataset) -> BatchLoader:
    """The whole graph in every step, or samples of it where `fanout` is given."""
    if config.fanout is None:
        return NodeLoader(data)
    return SampledLoader(
        data, config.batch_size, config.seed, config.fanout, config.unlabelled_per_batch
    )


def evaluated_nodes(config: NodeConfig, data: NodeDataset, part: Part) -> Rows:
    """The nodes of a split: in the whole graph, or with all their neighbours batch by batch."""
    if config.fanout is None:
        return node_rows(data, part)
    return sampled_node_rows(data, part, config.evaluation.batch_size, len(config.fanout))


def graph_loader(config: GraphsConfig, data: GraphsDataset) -> BatchLoader:
    """Batches of whole graphs."""
    return GraphBatchLoader(
        data,
        config.batch_size,
        config.seed,
        drop_last=False,
        labelled_per_batch=config.labelled_per_batch,
    )


def evaluated_graphs(config: GraphsConfig, data: GraphsDataset, part: Part) -> Rows:
    """The graphs of a split, in order."""
    return graph_rows(data, part, config.evaluation.batch_size)
