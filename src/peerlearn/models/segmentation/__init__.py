"""Networks that classify every pixel: `forward(x) -> PeerOutput(logits, features)`."""

from peerlearn.models.segmentation.registry import SEGMENTATION_MODELS

__all__ = ["SEGMENTATION_MODELS"]
