"""Small networks under one contract: `forward(x) -> PeerOutput(logits, features)`."""

from peerlearn.models.classifiers import MODELS
from peerlearn.models.size import multiply_adds, parameter_count

build_model = MODELS.build

__all__ = ["MODELS", "build_model", "multiply_adds", "parameter_count"]
