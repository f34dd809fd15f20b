"""Segmentation networks by name; their logits have the height and width of the image."""

from typing import Any

from peerlearn.errors import InputError
from peerlearn.models.arguments import check_shape
from peerlearn.models.backbone import Shape
from peerlearn.models.registry import Models
from peerlearn.tasks.segmentation.models.deeplab import deeplab
from peerlearn.tasks.segmentation.models.fpn import fpn
from peerlearn.tasks.segmentation.models.monai_unet import monai_unet
from peerlearn.tasks.segmentation.models.unet import unet


def _check_sample(in_shape: Any, model: str, field: str) -> Shape:
    shape = check_shape(in_shape, field)
    if len(shape) != 3:
        raise InputError(
            f"{field}: segmentation takes images (channels, height, width), but a sample here is "
            f"a vector of shape {shape}"
        )
    return shape


SEGMENTATION_MODELS = Models(
    unet, fpn, deeplab, monai_unet, sample="in_shape", check_sample=_check_sample
)
