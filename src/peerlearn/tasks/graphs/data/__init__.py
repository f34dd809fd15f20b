"""Graphs: node and graph classification, from files, memory or torch-geometric."""

from peerlearn.tasks.graphs.data.arrays import graphs_dataset, node_dataset
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.encoding import Encoding
from peerlearn.tasks.graphs.data.files import read_graph_arrays
from peerlearn.tasks.graphs.data.geometric import graphs_dataset_from_data, node_dataset_from_data
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.info import GraphInfo
from peerlearn.tasks.graphs.data.loaders import (
    GraphBatchLoader,
    NodeLoader,
    SampledLoader,
    graph_rows,
    node_rows,
    sampled_node_rows,
)
from peerlearn.tasks.graphs.data.operators import AttentionEdges
from peerlearn.tasks.graphs.data.registry import (
    GRAPH_SETS,
    NODE_SETS,
    load_graphs_dataset,
    load_node_dataset,
)
from peerlearn.tasks.graphs.data.sampling import NeighbourSampler
from peerlearn.tasks.graphs.data.spec import GraphDataSpec
from peerlearn.tasks.graphs.data.unlabelled import unlabelled_graphs, unlabelled_nodes

__all__ = [
    "GRAPH_SETS",
    "NODE_SETS",
    "AttentionEdges",
    "Encoding",
    "Graph",
    "GraphBatchLoader",
    "GraphDataSpec",
    "GraphInfo",
    "GraphsDataset",
    "NeighbourSampler",
    "NodeDataset",
    "NodeLoader",
    "SampledLoader",
    "graph_rows",
    "graphs_dataset",
    "graphs_dataset_from_data",
    "load_graphs_dataset",
    "load_node_dataset",
    "node_dataset",
    "node_dataset_from_data",
    "node_rows",
    "read_graph_arrays",
    "sampled_node_rows",
    "unlabelled_graphs",
    "unlabelled_nodes",
]
