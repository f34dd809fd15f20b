"""The networks that classify images and vectors, by name."""

from typing import Any

from peerlearn.errors import InputError
from peerlearn.models.arguments import check_shape
from peerlearn.models.backbone import Shape
from peerlearn.models.googlenet import googlenet
from peerlearn.models.mlp import mlp
from peerlearn.models.mobilenet import mobilenet
from peerlearn.models.preact_resnet import preact_resnet18, wide_resnet, wrn16_2, wrn28_10
from peerlearn.models.registry import Models
from peerlearn.models.resnet import resnet8, resnet18, resnet20, resnet32, resnet56
from peerlearn.models.timm_models import TIMM, timm_network
from peerlearn.models.vgg import cnn, vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn

VECTOR_MODELS = ("mlp",)
"""Those that also take samples of shape (F,); the others need images."""


def _check_sample(in_shape: Any, model: str, field: str) -> Shape:
    shape = check_shape(in_shape, field)
    if len(shape) == 1 and model in MODELS.names and model not in VECTOR_MODELS:
        raise InputError(
            f"{field}: {model} takes images (channels, height, width), but a sample here is a "
            f"vector of shape {shape}. Models that take vectors: {', '.join(VECTOR_MODELS)}."
        )
    return shape


MODELS = Models(
    mlp,
    cnn,
    *(resnet8, resnet18, resnet20, resnet32, resnet56),
    *(wrn16_2, wrn28_10, wide_resnet),
    preact_resnet18,
    mobilenet,
    *(vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn),
    googlenet,
    sample="in_shape",
    check_sample=_check_sample,
    libraries={TIMM: timm_network},
)
