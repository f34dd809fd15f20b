"""Graph mutual learning (Agbaje et al. 2025), on the nodes of one graph and on whole graphs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from peerlearn.data.datasets import BatchLoader
from peerlearn.data.graphs import (
    GraphInfo,
    GraphsDataset,
    NodeDataset,
    load_graphs_dataset,
    load_node_dataset,
)
from peerlearn.engine.trainer import Trainer
from peerlearn.models.graphs import GRAPH_MODELS
from peerlearn.systems.assembly import (
    load_data,
    load_initial_weights,
    one_stage,
    reported_rows,
)
from peerlearn.systems.graph.config import GraphConfig, GraphsConfig, NodeConfig
from peerlearn.systems.graph.data import (
    Part,
    Rows,
    evaluated_graphs,
    evaluated_nodes,
    graph_loader,
    node_loader,
)
from peerlearn.systems.graph.models import build_graph_cohort, prepare
from peerlearn.systems.recipe import Recipe


def build_nodes(config: NodeConfig) -> Trainer:
    """A trainer for node classification.

    Raises:
        InputError: data, models or edges that cannot be used, or do not fit each other.
    """
    data = load_data(config, partial(load_node_dataset, config.data), GRAPH_MODELS.check)
    loader = node_loader(config, data)
    return _trainer(config, data, loader, partial(evaluated_nodes, config, data))


def build_graphs(config: GraphsConfig) -> Trainer:
    """A trainer for the classification of graphs.

    Raises:
        InputError: data, models or edges that cannot be used, or do not fit each other.
    """
    data = load_data(config, partial(load_graphs_dataset, config.data), GRAPH_MODELS.check)
    loader = graph_loader(config, data)
    return _trainer(config, data, loader, partial(evaluated_graphs, config, data))


def _trainer(
    config: GraphConfig,
    data: NodeDataset | GraphsDataset,
    loader: BatchLoader,
    rows: Callable[[Part], Rows],
) -> Trainer:
    cohort = build_graph_cohort(config, data)
    load_initial_weights(cohort, config)
    validation, test = rows("val"), rows("test")
    graph, _ = next(iter(validation()))
    prepare(cohort, graph, data.classes, config.seed)
    return Trainer(
        cohort,
        one_stage(config, loader),
        config,
        validation=validation,
        report=reported_rows(config, validation, test),
        peers=config.peers,
        seed=config.seed,
        probe=rows("train"),
        info=GraphInfo.from_dataset(data),
    )


GML_NODE = Recipe(
    name="gml-node",
    summary="Graph networks that teach each other to classify the nodes of one graph",
    config=NodeConfig,
    build=build_nodes,
    restore=build_graph_cohort,
    reads="nodes",
    system="graph",
)
GML_GRAPH = Recipe(
    name="gml-graph",
    summary="Graph networks that teach each other to classify graphs",
    config=GraphsConfig,
    build=build_graphs,
    restore=build_graph_cohort,
    reads="graphs",
    system="graph",
)
GML_MLP = replace(
    GML_NODE,
    name="gml-mlp",
    summary="A cohort of graph networks teaches networks that need no edges when they serve",
)
