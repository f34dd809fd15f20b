"""Graphs, for runs whose networks classify their nodes or classify them as a whole."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.reading.predictions import Inputs
from peerlearn.reading.reader import Reader
from peerlearn.tasks.graphs.batches import evaluated_graphs, evaluated_nodes
from peerlearn.tasks.graphs.data import (
    GraphDataSpec,
    GraphInfo,
    GraphsDataset,
    NodeDataset,
    load_graphs_dataset,
    load_node_dataset,
    read_graph_arrays,
    unlabelled_graphs,
    unlabelled_nodes,
)

Data = TypeVar("Data", NodeDataset, GraphsDataset)


class _GraphReader(Reader[GraphInfo]):
    """Features are made as those of the training data were; see `Encoding`."""

    info_type = GraphInfo

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterator[Inputs]:
        """`.npz` files and folders of raw files, each of them whole.

        Edges may be left out where neither the peers nor their features need any.
        """
        for path in paths:
            arrays = read_graph_arrays(path)
            if "edge_index" not in arrays:
                self._check_edgeless(str(path), arrays, peers)
            count, batches = self._to_label(arrays, str(path))
            yield Inputs((str(path),) * count, tuple(range(count)), batches)

    @abstractmethod
    def _to_label(self, arrays: Mapping[str, Any], where: str) -> tuple[int, Rows]:
        """How many rows there are to label, and their batches."""

    def _other(self, name: str) -> GraphDataSpec:
        # How many nodes and labels to train on says nothing of the test split of other data.
        spec: GraphDataSpec = self.config.data
        return spec.model_copy(update={"name": name, "train_size": None, "labels": None})

    def _renamed(self, data: Data, name: str) -> Data:
        """Other data with their labels as classes of the run; those that are unknown stay so."""
        known, y = labelled_rows(data.y), data.y.clone()
        y[known] = self.places(GraphInfo.from_dataset(data), name)[y[known]]
        return replace(data, y=y)

    def _check_edgeless(
        self, where: str, arrays: Mapping[str, Any], peers: Mapping[str, nn.Module]
    ) -> None:
        readers = [name for name, peer in peers.items() if getattr(peer, "reads_edges", True)]
        if readers or self.info.encoding.degrees:
            why = f"peer {readers[0]!r} reads edges" if readers else "features are degrees"
            raise InputError(
                f"{where}: array 'edge_index' is missing, but {why}. Found: "
                f"{', '.join(arrays) or 'nothing'}."
            )


class NodeReader(_GraphReader):
    """The nodes of one graph, by their numbers."""

    def test_rows(self, name: str) -> Rows:
        data = load_node_dataset(self._other(name), self.info.encoding)
        return evaluated_nodes(self.config, self._renamed(data, name), "test")

    def _to_label(self, arrays: Mapping[str, Any], where: str) -> tuple[int, Rows]:
        data = unlabelled_nodes(arrays, self.info.encoding, self.config.data, where)
        return len(data.test), evaluated_nodes(self.config, data, "test")


class GraphReader(_GraphReader):
    """Graphs, by their numbers."""

    def test_rows(self, name: str) -> Rows:
        data = load_graphs_dataset(self._other(name), self.info.encoding)
        return evaluated_graphs(self.config, self._renamed(data, name), "test")

    def _to_label(self, arrays: Mapping[str, Any], where: str) -> tuple[int, Rows]:
        data = unlabelled_graphs(arrays, self.info.encoding, self.config.data, where)
        return len(data.test), evaluated_graphs(self.config, data, "test")
