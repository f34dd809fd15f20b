"""Graph networks: `forward(graph) -> PeerOutput`."""

from peerlearn.models.graphs.auxiliary import AuxiliaryNetwork
from peerlearn.models.graphs.network import GraphNetwork
from peerlearn.models.graphs.registry import (
    build_graph_model,
    check_graph_model_name,
    describe_graph_models,
    graph_model_names,
)

__all__ = [
    "AuxiliaryNetwork",
    "GraphNetwork",
    "build_graph_model",
    "check_graph_model_name",
    "describe_graph_models",
    "graph_model_names",
]
