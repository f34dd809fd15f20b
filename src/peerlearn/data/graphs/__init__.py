"""Graphs: node and graph classification, from files, memory or torch-geometric."""

from peerlearn.data.graphs.arrays import graphs_dataset, node_dataset
from peerlearn.data.graphs.datasets import GraphsDataset, NodeDataset
from peerlearn.data.graphs.encoding import Encoding
from peerlearn.data.graphs.files import read_graph_arrays
from peerlearn.data.graphs.geometric import graphs_dataset_from_data, node_dataset_from_data
from peerlearn.data.graphs.graph import Graph
from peerlearn.data.graphs.info import GraphInfo
from peerlearn.data.graphs.loaders import (
    GraphBatchLoader,
    NodeLoader,
    SampledLoader,
    graph_rows,
    node_rows,
    sampled_node_rows,
)
from peerlearn.data.graphs.operators import AttentionEdges
from peerlearn.data.graphs.registry import (
    GRAPH_SETS,
    NODE_SETS,
    load_graphs_dataset,
    load_node_dataset,
)
from peerlearn.data.graphs.sampling import NeighbourSampler
from peerlearn.data.graphs.spec import GraphDataSpec
from peerlearn.data.graphs.unlabelled import unlabelled_graphs, unlabelled_nodes

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
