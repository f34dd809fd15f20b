"""Small networks under one contract: `forward(x) -> PeerOutput(logits, features)`."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from peerlearn.errors import InputError
from peerlearn.models.classifiers import MODELS
from peerlearn.models.size import multiply_adds, parameter_count


def build_model(
    name: str,
    sample: Any,
    classes: int,
    arguments: Mapping[str, Any] | None = None,
    field: str = "model",
) -> nn.Module:
    """A network that reads images or vectors; see `Models.build`.

    `peerlearn.build_model` also builds those of other tasks.
    """
    try:
        return MODELS.build(name, sample, classes, arguments, field)
    except InputError as error:
        if not isinstance(name, str) or MODELS.knows(name):
            raise
        hint = "networks of other tasks are built by peerlearn.build_model"
        raise InputError(f"{error} (This reads images and vectors; {hint}.)") from None


__all__ = ["MODELS", "build_model", "multiply_adds", "parameter_count"]
