"""Graphs: node and graph classification, from files, memory or torch-geometric."""

from peerlearn.tasks.graphs.data.arrays import graphs_dataset, node_dataset
from peerlearn.tasks.graphs.data.geometric import graphs_dataset_from_data, node_dataset_from_data
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.registry import load_graphs_dataset, load_node_dataset
from peerlearn.tasks.graphs.data.spec import GraphDataSpec

__all__ = [
    "Graph",
    "GraphDataSpec",
    "graphs_dataset",
    "graphs_dataset_from_data",
    "load_graphs_dataset",
    "load_node_dataset",
    "node_dataset",
    "node_dataset_from_data",
]
