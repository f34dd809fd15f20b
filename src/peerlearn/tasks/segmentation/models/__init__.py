"""Networks that classify every pixel: `forward(x) -> PeerOutput(logits, features)`."""

from peerlearn.tasks.segmentation.models.registry import SEGMENTATION_MODELS

__all__ = ["SEGMENTATION_MODELS"]
