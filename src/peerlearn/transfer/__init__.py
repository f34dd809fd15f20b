"""What one network can teach another: divergences, gates, schedules and the graph of edges."""

from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.knowledge.base import EdgeOptions, IncomingEdges, Knowledge
from peerlearn.transfer.outputs import BatchView, PeerOutput
from peerlearn.transfer.spec import TransferSpec

__all__ = [
    "BatchView",
    "EdgeOptions",
    "IncomingEdges",
    "Knowledge",
    "PeerOutput",
    "TransferGraph",
    "TransferSpec",
]
