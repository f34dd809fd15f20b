"""Segmentation networks by name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from peerlearn.errors import InputError
from peerlearn.models.arguments import check_count, check_shape
from peerlearn.models.backbone import Shape
from peerlearn.models.registry import ModelInfo, build_named, check_model_name, describe_models
from peerlearn.models.segmentation.deeplab import deeplab
from peerlearn.models.segmentation.fpn import fpn
from peerlearn.models.segmentation.monai_unet import monai_unet
from peerlearn.models.segmentation.unet import unet

SEGMENTATION_MODELS: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "fpn": fpn,
    "deeplab": deeplab,
    "monai_unet": monai_unet,
}
"""Builders, each `(in_shape, classes, *, arguments of its own) -> nn.Module`, whose logits have the
height and width of the image."""


def segmentation_model_names() -> list[str]:
    """Every built-in name."""
    return list(SEGMENTATION_MODELS)


def describe_segmentation_models() -> list[ModelInfo]:
    """Name, one-line description and argument defaults of every built-in segmentation network."""
    return describe_models(SEGMENTATION_MODELS)


def check_segmentation_model_name(name: str, field: str = "model") -> None:
    """Raise `InputError` where no segmentation network has that name; `python:` passes unseen."""
    check_model_name(name, field, SEGMENTATION_MODELS)


def build_segmentation_model(
    name: str,
    in_shape: Shape,
    classes: int,
    arguments: Mapping[str, Any] | None = None,
    field: str = "model",
) -> nn.Module:
    """Build a segmentation network, with weights from torch's global generator.

    Args:
        name: one of `segmentation_model_names()`, or `python:package.module:function` for the
            user's own, which is passed `in_shape` and `classes` where it names them, and gives a
            module with logits (batch, classes, height, width).
        in_shape: shape of one image, (C, H, W).
        classes: number of logits a pixel.
        arguments: keyword arguments of the network; see `describe_segmentation_models()`.
        field: the configuration field that holds `name`, for error messages.

    Raises:
        InputError: unknown name, unknown or wrong argument, or samples that are not images.
    """
    shape, classes = check_shape(in_shape, field), check_count("classes", classes, field)
    if len(shape) != 3:
        raise InputError(
            f"{field}: segmentation takes images (channels, height, width), but a sample here is "
            f"a vector of shape {shape}"
        )
    context = {"in_shape": shape, "classes": classes}
    return build_named(SEGMENTATION_MODELS, name, context, arguments, field)
