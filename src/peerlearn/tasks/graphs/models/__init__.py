"""Graph networks: `forward(graph) -> PeerOutput`."""

from peerlearn.tasks.graphs.models.auxiliary import AuxiliaryNetwork
from peerlearn.tasks.graphs.models.network import GraphNetwork
from peerlearn.tasks.graphs.models.registry import GRAPH_MODELS

__all__ = ["GRAPH_MODELS", "AuxiliaryNetwork", "GraphNetwork"]
