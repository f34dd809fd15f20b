"""Graphs: their nodes are classified, or they are as a whole."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.engine.evaluate import Rows
from peerlearn.engine.task import Findings, Trained
from peerlearn.errors import InputError
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.assembly import assemble
from peerlearn.tasks.contract import Task
from peerlearn.tasks.graphs.batches import (
    evaluated_graphs,
    evaluated_nodes,
    graph_loader,
    node_loader,
)
from peerlearn.tasks.graphs.class_weights import learned_class_weights
from peerlearn.tasks.graphs.config import GraphConfig, GraphsConfig, NodeConfig
from peerlearn.tasks.graphs.data import (
    GRAPH_SETS,
    NODE_SETS,
    GraphInfo,
    GraphsDataset,
    NodeDataset,
    load_graphs_dataset,
    load_node_dataset,
)
from peerlearn.tasks.graphs.models import GRAPH_MODELS, AuxiliaryNetwork
from peerlearn.tasks.graphs.models.auxiliary import sizes
from peerlearn.tasks.graphs.models.network import OperatorNetwork
from peerlearn.tasks.graphs.objectives import MultiTask
from peerlearn.tasks.graphs.reader import GraphReader, NodeReader
from peerlearn.transfer.outputs import PeerOutput

Config = TypeVar("Config", bound=GraphConfig)
Data = TypeVar("Data", NodeDataset, GraphsDataset)


class _GraphTask(Task[Config, Data, GraphInfo]):
    """What the classification of nodes and of graphs have in common."""

    models = GRAPH_MODELS

    @classmethod
    def sample(cls, info: GraphInfo) -> int:
        return info.num_features

    @classmethod
    def build(cls, config: Config, info: GraphInfo) -> Cohort:
        if config.auxiliary.task == "none":
            return assemble(config, lambda name: cls.peer(config, info, name), config.objective)
        both = MultiTask(config.objective, config.auxiliary.weight)
        return assemble(config, lambda name: cls.with_auxiliary(config, info, name), both)

    @classmethod
    def peer(cls, config: Config, info: GraphInfo, name: str) -> nn.Module:
        """The network of a peer."""
        spec = config.peers[name]
        with seeded_rng(config.seed, "weights", name):
            return cls.network(info, spec.model, spec.arguments, f"peers.{name}.model")

    @classmethod
    def with_auxiliary(cls, config: Config, info: GraphInfo, name: str) -> nn.Module:
        """The network of a peer with a second head."""
        network = cls.peer(config, info, name)
        try:
            with seeded_rng(config.seed, "auxiliary", name):
                return AuxiliaryNetwork(network, info.task == "graph", config.auxiliary.buckets)
        except InputError as error:
            raise InputError(f"peers.{name}.model: {error}") from None

    def untrained(self) -> Cohort:
        cohort = super().untrained()
        for peer in cohort.peers.values():
            if isinstance(peer, AuxiliaryNetwork):
                peer.divide(self.training_sizes())
        return cohort

    @abstractmethod
    def training_sizes(self) -> Tensor:
        """What the auxiliary head is about, int64 (R,)."""

    def few(self) -> tuple[Any, Tensor, str]:
        graph, y = next(iter(self.rows["val"]()))
        what = f"a graph of {graph.num_nodes} nodes with {graph.num_features} features"
        return graph, y, what

    def check(self, cohort: Cohort, outputs: Mapping[str, PeerOutput], y: Tensor) -> None:
        for name, output in outputs.items():
            if (found := output.logits.shape[-1]) != self.info.classes:
                raise InputError(
                    f"peers.{name}: gives {found} outputs; the data have "
                    f"{self.info.classes} classes"
                )

    def probe(self) -> Rows:
        return self.rows["train"]

    def finish(self, trained: Trained) -> Findings:
        found, names = super().finish(trained), self.info.class_names
        weights = learned_class_weights(trained.cohort, self.example(), trained.precision, names)
        return replace(found, further={"class_weights": weights} if weights else {})


class NodeTask(_GraphTask[NodeConfig, NodeDataset]):
    """Classify the nodes of one graph."""

    Config = NodeConfig
    Reader = NodeReader
    catalogue = NODE_SETS

    @classmethod
    def read(cls, config: NodeConfig) -> NodeDataset:
        return load_node_dataset(config.data)

    @classmethod
    def peer(cls, config: NodeConfig, info: GraphInfo, name: str) -> nn.Module:
        network = super().peer(config, info, name)
        if config.fanout is not None:
            _check_hops(network, len(config.fanout), name)
        return network

    def training_sizes(self) -> Tensor:
        return sizes(self.data.graph)

    def loader(self) -> BatchLoader:
        return node_loader(self.config, self.data)

    def row_sets(self) -> Mapping[str, Rows]:
        return {
            part: evaluated_nodes(self.config, self.data, part) for part in ("train", "val", "test")
        }


class GraphTask(_GraphTask[GraphsConfig, GraphsDataset]):
    """Classify graphs as a whole."""

    Config = GraphsConfig
    Reader = GraphReader
    catalogue = GRAPH_SETS

    @classmethod
    def read(cls, config: GraphsConfig) -> GraphsDataset:
        return load_graphs_dataset(config.data)

    def training_sizes(self) -> Tensor:
        return self.data.ptr.diff()[self.data.train]

    def loader(self) -> BatchLoader:
        return graph_loader(self.config, self.data)

    def row_sets(self) -> Mapping[str, Rows]:
        return {
            part: evaluated_graphs(self.config, self.data, part)
            for part in ("train", "val", "test")
        }


def _check_hops(network: nn.Module, hops: int, name: str) -> None:
    """A network that sees further than samples reach would compute something else on them."""
    if isinstance(network, OperatorNetwork) and network.reads_edges and network.layers > hops:
        raise InputError(
            f"fanout: {hops} hops, but peers.{name} has {network.layers} layers; give one number "
            "of neighbours for each layer"
        )
