"""Graph mutual learning (Agbaje et al. 2025), on the nodes of one graph and on whole graphs."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from peerlearn.data.datasets import BatchLoader
from peerlearn.data.graphs import (
    GraphDataSpec,
    GraphFacts,
    GraphsDataset,
    NodeDataset,
    load_graphs_dataset,
    load_node_dataset,
)
from peerlearn.engine.stage import Stage
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import Faults, InputError
from peerlearn.models.graphs import check_graph_model_name
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
from peerlearn.systems.peers import load_initial_weights
from peerlearn.systems.recipe import Recipe
from peerlearn.transfer.graph import TransferGraph

Data = TypeVar("Data", NodeDataset, GraphsDataset)


def build_nodes(config: NodeConfig) -> Trainer:
    """A trainer for node classification.

    Raises:
        InputError: data, models or edges that cannot be used, or do not fit each other.
    """
    data = load(config, load_node_dataset)
    loader = node_loader(config, data)
    return _trainer(config, data, loader, partial(evaluated_nodes, config, data))


def build_graphs(config: GraphsConfig) -> Trainer:
    """A trainer for the classification of graphs.

    Raises:
        InputError: data, models or edges that cannot be used, or do not fit each other.
    """
    data = load(config, load_graphs_dataset)
    loader = graph_loader(config, data)
    return _trainer(config, data, loader, partial(evaluated_graphs, config, data))


def load(config: GraphConfig, read: Callable[[GraphDataSpec], Data]) -> Data:
    """The data of `config`; where they cannot be used, what else is wrong is told as well.

    Raises:
        InputError: data that cannot be used, and then also unknown models and peers.
    """
    faults = Faults()
    with faults.gathered():
        return read(config.data)
    for name, peer in config.peers.items():
        with faults.gathered():
            check_graph_model_name(peer.model, f"peers.{name}.model")
    with faults.gathered():
        TransferGraph(config.transfer, list(config.peers))
    raise InputError("\n".join(faults.said))


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
    both = config.evaluation.report == "val+test"
    return Trainer(
        cohort,
        [Stage("mutual", config.epochs, loader)],
        config,
        validation=validation,
        report=(lambda: [*validation(), *test()]) if both else test,
        peers=config.peers,
        seed=config.seed,
        probe=rows("train"),
        facts=GraphFacts.from_dataset(data),
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
GML_MLP = Recipe(
    name="gml-mlp",
    summary="A cohort of graph networks teaches networks that need no edges when they serve",
    config=NodeConfig,
    build=build_nodes,
    restore=build_graph_cohort,
    reads="nodes",
    system="graph",
)
