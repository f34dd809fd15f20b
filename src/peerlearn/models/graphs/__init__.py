"""Graph networks whose peers share propagation: `forward(graph) -> PeerOutput`."""

from peerlearn.models.graphs.auxiliary import AuxiliaryNetwork
from peerlearn.models.graphs.propagation import (
    Ask,
    GraphNetwork,
    forward_together,
    propagate,
    together,
)
from peerlearn.models.graphs.registry import (
    build_graph_model,
    check_graph_model_name,
    describe_graph_models,
    graph_model_names,
)

__all__ = [
    "Ask",
    "AuxiliaryNetwork",
    "GraphNetwork",
    "build_graph_model",
    "check_graph_model_name",
    "describe_graph_models",
    "forward_together",
    "graph_model_names",
    "propagate",
    "together",
]
