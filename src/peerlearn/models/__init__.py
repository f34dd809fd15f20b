"""Small networks under one contract: `forward(x) -> PeerOutput(logits, features)`."""

from peerlearn.models.backbone import Backbone
from peerlearn.models.registry import (
    ModelInfo,
    build_model,
    check_model_name,
    describe_models,
    model_names,
)
from peerlearn.models.size import multiply_adds, parameter_count

__all__ = [
    "Backbone",
    "ModelInfo",
    "build_model",
    "check_model_name",
    "describe_models",
    "model_names",
    "multiply_adds",
    "parameter_count",
]
