"""Graphs: their nodes are classified, or they are as a whole."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import BatchLoader
from peerlearn.data.fingerprint import digest
from peerlearn.data.words import label_counts
from peerlearn.engine.calibration import uncalibrated
from peerlearn.engine.evaluate import Rows
from peerlearn.engine.task import BatchSizes, Findings, Trained
from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.objectives.base import Objective
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.assembly import FP32, INT64, assemble, sizes_of_rows
from peerlearn.tasks.contract import Task
from peerlearn.tasks.graphs.config import GraphConfig, GraphsConfig, NodeConfig
from peerlearn.tasks.graphs.data.datasets import PARTS, GraphInfo, GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.geometric import (
    graphs_dataset_from_data,
    node_dataset_from_data,
)
from peerlearn.tasks.graphs.data.homophily import homophily
from peerlearn.tasks.graphs.data.loaders import GraphBatchLoader, NodeLoader, SampledLoader
from peerlearn.tasks.graphs.data.registry import (
    GRAPH_SETS,
    NODE_SETS,
    load_graphs_dataset,
    load_node_dataset,
)
from peerlearn.tasks.graphs.models import GRAPH_MODELS, AuxiliaryNetwork
from peerlearn.tasks.graphs.models.auxiliary import MultiTask, sizes
from peerlearn.tasks.graphs.models.network import OperatorNetwork
from peerlearn.tasks.graphs.reader import GraphReader, NodeReader, evaluated_rows
from peerlearn.transfer.knowledge import PredictionKnowledge
from peerlearn.transfer.outputs import PeerOutput, class_last

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
        objective: Objective = config.objective
        if config.auxiliary.task != "none":
            objective = MultiTask(objective, config.auxiliary.weight)
        return assemble(config, partial(cls.peer, config, info), objective)

    @classmethod
    def peer(cls, config: Config, info: GraphInfo, name: str) -> nn.Module:
        """The network of a peer, with a second head where one is asked for."""
        spec, auxiliary, field = config.peers[name], config.auxiliary, f"peers.{name}.model"
        with seeded_rng(config.seed, "weights", name):
            network = cls.network(info, spec.model, spec.arguments, field)
        if isinstance(config, NodeConfig) and config.fanout is not None:
            _check_hops(network, len(config.fanout), name)
        if auxiliary.task == "none":
            return network
        try:
            with seeded_rng(config.seed, "auxiliary", name):
                return AuxiliaryNetwork(network, info.task == "graph", auxiliary.buckets)
        except InputError as error:
            raise InputError(f"{field}: {error}") from None

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

    def row_sets(self) -> Mapping[str, Rows]:
        return {part: evaluated_rows(self.config, self.data, part) for part in PARTS}

    def batch_sizes(self) -> BatchSizes:
        """Of nodes, whose features are those of the data: a step sees all of them, or some."""
        logits, nodes = FP32 * self.info.classes, self.info.nodes
        return BatchSizes(nodes, nodes, inputs=0, targets=INT64, outputs=logits)

    def row_set(self) -> str:
        """Of the graph, the nodes or graphs that count, and their labels; not of features."""
        parts: Sequence[str] = self.measured("report")
        data: Any = self.data
        labels = [digest(data.y[getattr(data, part)]) for part in parts]
        if isinstance(data, GraphsDataset):
            labels.append(digest(data.ptr))
        return self._row_set_of(("edge_index", *parts), *labels)

    def label_counts(self) -> Sequence[int] | None:
        return label_counts(self.data.y[self.data.train], self.info.classes)

    def probe(self) -> Rows:
        return self.rows["train"]

    def finish(self, trained: Trained) -> Findings:
        weights = self.class_weights(trained)
        further = {"class_weights": weights} if weights else {}
        return replace(super().finish(trained), further=further)

    def class_weights(self, trained: Trained) -> dict[str, dict[str, float]]:
        """What edges with `weighting: class` have learned, by the peer they teach and class.

        Of several entries that weight one peer's logits, the first counts. Where batches differ in
        their rows there are no such weights.
        """
        entries = [
            entry
            for entry in trained.cohort.transfer.entries
            if isinstance(entry, PredictionKnowledge) and entry.options.weighting.by == "class"
        ]
        weights: dict[str, dict[str, float]] = {}
        if not entries:
            return weights
        plain, modes = uncalibrated(trained.cohort.peers.values()), evaluating(trained.cohort)
        with plain, modes, torch.no_grad(), trained.precision.autocast():
            outputs = trained.cohort(trained.precision.place(self.example()))
        for entry in entries:
            for peer, weighting in entry.weightings.items():
                with suppress(InputError), torch.no_grad():
                    learned = weighting(class_last(outputs[peer].logits).float()).tolist()
                    weights.setdefault(peer, dict(zip(self.info.class_names, learned, strict=True)))
        return weights


class NodeTask(_GraphTask[NodeConfig, NodeDataset]):
    """Classify the nodes of one graph."""

    Config = NodeConfig
    Reader = NodeReader
    catalogue = NODE_SETS

    @classmethod
    def read(cls, config: NodeConfig) -> NodeDataset:
        return load_node_dataset(config.data)

    @classmethod
    def given(cls, config: NodeConfig, data: Any) -> NodeDataset:
        return data if isinstance(data, NodeDataset) else node_dataset_from_data(data, config.data)

    def training_sizes(self) -> Tensor:
        return sizes(self.data.graph)

    def validated_rows(self) -> int:
        """All nodes, since each of those that are measured hears of others."""
        return self.info.nodes * len(self.measured("validation"))

    def facts(self) -> Mapping[str, Sequence[str]]:
        found = homophily(self.data)
        if found is None:
            return super().facts()
        lines = [str(found)]
        edges = self.config.transfer.entries()
        if found.low and edges:
            way_out = "transfer.proven=both lets edges teach while validation shows them right"
            if all(edge.proven.ends != "none" for edge in edges):
                way_out = "so edges have to prove themselves (transfer.proven)"
            lines.append(
                "neighbours seldom share a class, and graph peers may mislead each other; "
                f"{way_out}"
            )
        return {**super().facts(), "graph": lines}

    def loader(self) -> BatchLoader:
        """The whole graph in every step, or samples of it where `fanout` is given."""
        it = self.config
        if it.fanout is None:
            return NodeLoader(self.data)
        return SampledLoader(self.data, it.batch_size, it.seed, it.fanout, it.unlabelled_per_batch)


class GraphTask(_GraphTask[GraphsConfig, GraphsDataset]):
    """Classify graphs as a whole."""

    Config = GraphsConfig
    Reader = GraphReader
    catalogue = GRAPH_SETS

    @classmethod
    def read(cls, config: GraphsConfig) -> GraphsDataset:
        return load_graphs_dataset(config.data)

    @classmethod
    def given(cls, config: GraphsConfig, data: Any) -> GraphsDataset:
        if isinstance(data, GraphsDataset):
            return data
        return graphs_dataset_from_data(data, config.data)

    def training_sizes(self) -> Tensor:
        return self.data.ptr.diff()[self.data.train]

    def batch_sizes(self) -> BatchSizes:
        info = self.info
        features = FP32 * info.nodes * info.num_features + 2 * INT64 * info.edges
        inputs = features / max(info.graphs, 1)
        return sizes_of_rows(self.config, info)._replace(inputs=inputs)

    def loader(self) -> BatchLoader:
        it = self.config
        return GraphBatchLoader(self.data, it.batch_size, it.seed, False, it.labelled_per_batch)


def _check_hops(network: nn.Module, hops: int, name: str) -> None:
    """A network that sees further than samples reach would compute something else on them."""
    if isinstance(network, OperatorNetwork) and network.reads_edges and network.layers > hops:
        raise InputError(
            f"fanout: {hops} hops, but peers.{name} has {network.layers} layers; give one number "
            "of neighbours for each layer"
        )
