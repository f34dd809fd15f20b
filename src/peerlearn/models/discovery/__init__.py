"""Networks of category discovery: a shared trunk and branches that stand on it."""

from peerlearn.models.discovery.branches import Branch, LinearHeads, Trunk
from peerlearn.models.discovery.uno_heads import UnoHeads

__all__ = ["Branch", "LinearHeads", "Trunk", "UnoHeads"]
