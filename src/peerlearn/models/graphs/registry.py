"""Graph networks by name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from peerlearn.models.arguments import check_count
from peerlearn.models.graphs.gat import gat
from peerlearn.models.graphs.gcn import gcn
from peerlearn.models.graphs.gin import gin
from peerlearn.models.graphs.graph_mlp import graph_mlp
from peerlearn.models.graphs.sage import sage
from peerlearn.models.registry import ModelInfo, build_named, check_model_name, describe_models

GRAPH_MODELS: dict[str, Callable[..., nn.Module]] = {
    "gcn": gcn,
    "gat": gat,
    "sage": sage,
    "gin": gin,
    "graph_mlp": graph_mlp,
}
"""Builders, each `(features, classes, *, arguments of its own) -> GraphNetwork`."""


def graph_model_names() -> list[str]:
    """Every built-in name."""
    return list(GRAPH_MODELS)


def describe_graph_models() -> list[ModelInfo]:
    """Name, one-line description and argument defaults of every built-in graph network."""
    return describe_models(GRAPH_MODELS)


def check_graph_model_name(name: str, field: str = "model") -> None:
    """Raise `InputError` where no graph network has that name; `python:` names pass unseen."""
    check_model_name(name, field, GRAPH_MODELS)


def build_graph_model(
    name: str,
    features: int,
    classes: int,
    arguments: Mapping[str, Any] | None = None,
    field: str = "model",
) -> nn.Module:
    """Build a graph network, with weights from torch's global generator, which the caller seeds.

    Args:
        name: one of `graph_model_names()`, or `python:package.module:function` for the user's own,
            which is passed `features` and `classes` where it names them, and gives a module that
            is called with a `Graph`.
        features: columns of the node features.
        classes: number of logits.
        arguments: keyword arguments of the network; see `describe_graph_models()`.
        field: the configuration field that holds `name`, for error messages.

    Raises:
        InputError: unknown name, unknown or wrong argument.
    """
    context = {
        "features": check_count("features", features, field),
        "classes": check_count("classes", classes, field),
    }
    return build_named(GRAPH_MODELS, name, context, arguments, field)
