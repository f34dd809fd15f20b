"""Small networks under one contract: `forward(x) -> PeerOutput(logits, features)`."""

from peerlearn.models.backbone import Backbone
from peerlearn.models.classifiers import MODELS
from peerlearn.models.registry import ModelInfo, Models
from peerlearn.models.size import multiply_adds, parameter_count

build_model = MODELS.build

__all__ = [
    "MODELS",
    "Backbone",
    "ModelInfo",
    "Models",
    "build_model",
    "multiply_adds",
    "parameter_count",
]
