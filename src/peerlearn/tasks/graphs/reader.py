"""Graphs, for runs whose networks classify their nodes or classify them as a whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.reading.inputs import GIVEN, as_array
from peerlearn.reading.predictions import Inputs
from peerlearn.reading.reader import Reader
from peerlearn.tasks.graphs.config import GraphConfig, NodeConfig
from peerlearn.tasks.graphs.data.arrays import unlabelled_graphs, unlabelled_nodes
from peerlearn.tasks.graphs.data.datasets import GraphInfo, GraphsDataset, NodeDataset, Part
from peerlearn.tasks.graphs.data.loaders import graph_rows, node_rows, sampled_node_rows
from peerlearn.tasks.graphs.data.raw_files import read_graph_arrays
from peerlearn.tasks.graphs.data.registry import load_graphs_dataset, load_node_dataset


def evaluated_rows(config: GraphConfig, data: NodeDataset | GraphsDataset, part: Part) -> Rows:
    """A split: graphs in order, or nodes, with samples batch by batch with all their neighbours."""
    size = config.evaluation.batch_size
    if isinstance(data, GraphsDataset):
        return graph_rows(data, part, size)
    if isinstance(config, NodeConfig) and config.fanout is not None:
        return sampled_node_rows(data, part, size, len(config.fanout))
    return node_rows(data, part)


class _GraphReader(Reader[GraphInfo]):
    """Features are made as those of the training data were; see `Encoding`.

    Attributes:
        load: reads other data with labels.
        unlabelled: makes data to label of arrays.
    """

    info_type = GraphInfo
    load: ClassVar[Callable[..., NodeDataset | GraphsDataset]]
    unlabelled: ClassVar[Callable[..., NodeDataset | GraphsDataset]]

    def test_rows(self, name: str) -> Rows:
        # How many nodes and labels to train on says nothing of the test split of other data.
        nothing = {"train_size": None, "labels": None}
        spec = self.config.data.model_copy(update={"name": name, **nothing})
        data = self.load(spec, self.info.encoding)
        self.account += data.account
        # Their labels as classes of the run; those that are unknown stay so.
        known, y = labelled_rows(data.y), data.y.clone()
        y[known] = self.places(GraphInfo.from_dataset(data), name)[y[known]]
        return evaluated_rows(self.config, replace(data, y=y), "test")

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterator[Inputs]:
        """`.npz` files and folders of raw files, each of them whole.

        Edges may be left out where neither the peers nor their features need any.
        """
        for path in paths:
            yield self._of_arrays(read_graph_arrays(path), str(path), peers)

    def given(self, x: Any, peers: Mapping[str, nn.Module]) -> list[Inputs]:
        """Arrays or tensors by the names that they have in an `.npz` file."""
        if not isinstance(x, Mapping):
            raise InputError(
                f"{GIVEN}: found {type(x).__name__}; allowed: arrays by name such as x and "
                "edge_index, or paths of files"
            )
        arrays = {str(name): as_array(value) for name, value in x.items()}
        return [self._of_arrays(arrays, GIVEN, peers)]

    def _of_arrays(
        self, arrays: Mapping[str, Any], where: str, peers: Mapping[str, nn.Module]
    ) -> Inputs:
        if "edge_index" not in arrays:
            self._check_edgeless(where, arrays, peers)
        data = self.unlabelled(arrays, self.info.encoding, self.config.data, where)
        self.account += data.account
        count = len(data.test)
        rows = evaluated_rows(self.config, data, "test")
        return Inputs((where,) * count, tuple(range(count)), rows)

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

    load = staticmethod(load_node_dataset)
    unlabelled = staticmethod(unlabelled_nodes)


class GraphReader(_GraphReader):
    """Graphs, by their numbers."""

    load = staticmethod(load_graphs_dataset)
    unlabelled = staticmethod(unlabelled_graphs)
