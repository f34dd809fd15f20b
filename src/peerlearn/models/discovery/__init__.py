"""Networks of category discovery: a shared trunk and branches that stand on it."""

from peerlearn.models.discovery.branches import ROTATIONS, Branch, LinearHeads, Trunk
from peerlearn.models.discovery.uno_heads import UnoHeads

__all__ = ["ROTATIONS", "Branch", "LinearHeads", "Trunk", "UnoHeads"]
