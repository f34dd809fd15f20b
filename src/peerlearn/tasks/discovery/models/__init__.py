"""Networks of category discovery: a shared trunk and branches that stand on it."""

from peerlearn.tasks.discovery.models.branches import Branch, LinearHeads, Trunk
from peerlearn.tasks.discovery.models.uno_heads import UnoHeads

__all__ = ["Branch", "LinearHeads", "Trunk", "UnoHeads"]
