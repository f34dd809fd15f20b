"""What one network can teach another: divergences, gates, schedules and the graph of edges."""

from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.transfer.spec import EdgeSpec, TransferSpec

__all__ = ["EdgeSpec", "PeerOutput", "TransferGraph", "TransferSpec"]
