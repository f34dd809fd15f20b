"""Graph networks: `forward(graph) -> PeerOutput`."""

from peerlearn.models.graphs.auxiliary import AuxiliaryNetwork
from peerlearn.models.graphs.network import GraphNetwork
from peerlearn.models.graphs.registry import GRAPH_MODELS

__all__ = ["GRAPH_MODELS", "AuxiliaryNetwork", "GraphNetwork"]
