"""Networks that classify every pixel: `forward(x) -> PeerOutput(logits, features)`."""

from peerlearn.models.segmentation.registry import (
    build_segmentation_model,
    check_segmentation_model_name,
    describe_segmentation_models,
    segmentation_model_names,
)

__all__ = [
    "build_segmentation_model",
    "check_segmentation_model_name",
    "describe_segmentation_models",
    "segmentation_model_names",
]
