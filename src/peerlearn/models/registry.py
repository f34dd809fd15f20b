"""Models by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.models import custom
from peerlearn.models.arguments import (
    argument_defaults,
    check_arguments,
    check_count,
    check_shape,
)
from peerlearn.models.backbone import Shape
from peerlearn.models.cnn import cnn
from peerlearn.models.googlenet import googlenet
from peerlearn.models.mlp import mlp
from peerlearn.models.mobilenet import mobilenet
from peerlearn.models.preact_resnet import preact_resnet18
from peerlearn.models.resnet import resnet8, resnet18, resnet20, resnet32, resnet56
from peerlearn.models.vgg import vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn
from peerlearn.models.wide_resnet import wide_resnet, wrn16_2, wrn28_10

Builders = Mapping[str, Callable[..., nn.Module]]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet8": resnet8,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "wrn16_2": wrn16_2,
    "wrn28_10": wrn28_10,
    "wide_resnet": wide_resnet,
    "preact_resnet18": preact_resnet18,
    "mobilenet": mobilenet,
    "vgg11_bn": vgg11_bn,
    "vgg13_bn": vgg13_bn,
    "vgg16_bn": vgg16_bn,
    "vgg19_bn": vgg19_bn,
    "googlenet": googlenet,
}
"""Builders, each `(in_shape, classes, *, arguments of its own) -> nn.Module`."""

VECTOR_MODELS = ("mlp",)
"""Those that also take samples of shape (F,); the others need images."""


class ModelInfo(NamedTuple):
    """A line of `peerlearn ls models`."""

    name: str
    summary: str
    arguments: dict[str, Any]


def model_names() -> list[str]:
    """Every built-in name."""
    return list(MODELS)


def describe_models(builders: Builders = MODELS) -> list[ModelInfo]:
    """Name, one-line description and argument defaults of every built-in model."""
    return [
        ModelInfo(
            name, (inspect.getdoc(builder) or "").partition("\n")[0], argument_defaults(builder)
        )
        for name, builder in builders.items()
    ]


def check_model_name(name: str, field: str = "model", builders: Builders = MODELS) -> None:
    """Raise `InputError` where no model has that name; `python:` names are not looked into."""
    if not name.startswith(custom.PREFIX) and name not in builders:
        raise unknown_name("model", name, [*builders, custom.FORM], field)


def build_model(
    name: str,
    in_shape: Shape,
    classes: int,
    arguments: Mapping[str, Any] | None = None,
    field: str = "model",
) -> nn.Module:
    """Build a network; its weights come from torch's global generator, which the caller seeds.

    Args:
        name: one of `model_names()`, or `python:package.module:function` for the user's own.
        in_shape: shape of one sample, (C, H, W) or (F,).
        classes: number of logits.
        arguments: keyword arguments of the model; see `describe_models()`.
        field: the configuration field that holds `name`, for error messages.

    Raises:
        InputError: unknown name, unknown or wrong argument, or samples of a shape that the model
            does not take.
    """
    shape, classes = check_shape(in_shape, field), check_count("classes", classes, field)
    if len(shape) == 1 and isinstance(name, str) and name in MODELS and name not in VECTOR_MODELS:
        raise InputError(
            f"{field}: {name} takes images (channels, height, width), but a sample here is a "
            f"vector of shape {shape}. Models that take vectors: {', '.join(VECTOR_MODELS)}."
        )
    return build_named(MODELS, name, {"in_shape": shape, "classes": classes}, arguments, field)


def build_named(
    builders: Builders,
    name: str,
    context: Mapping[str, Any],
    arguments: Mapping[str, Any] | None,
    field: str,
) -> nn.Module:
    """One of `builders`, or the user's own, called with `context` and the checked arguments.

    Args:
        builders: by name; see `MODELS`.
        name: one of their names, or `python:package.module:function`.
        context: what the data decide, checked already.
        arguments: those of the user.
        field: the configuration field that holds `name`, for error messages.

    Raises:
        InputError: unknown name, unknown or wrong argument.
    """
    if arguments is not None and not isinstance(arguments, Mapping):
        raise InputError(
            f"{field}: arguments = {arguments!r}: expected a mapping of names to values"
        )
    arguments = arguments or {}
    if not isinstance(name, str):
        raise InputError(f"{field}: {name!r}: expected the name of a model")
    if name.startswith(custom.PREFIX):
        return custom.build_custom(name, context, arguments, field)
    check_model_name(name, field, builders)
    checked = check_arguments(name, builders[name], arguments, field)
    try:
        return builders[name](**context, **checked)
    except InputError as error:
        raise InputError(f"{field}: {name} {error}") from None
