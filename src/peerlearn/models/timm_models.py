"""Networks of timm (https://github.com/huggingface/pytorch-image-models), by their names there."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.models.backbone import Shape

TIMM = "timm"
_ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")
"""Begin the names of networks that timm finds outside its own list."""


def timm_network(
    name: str, in_shape: Shape, classes: int, arguments: Mapping[str, Any], field: str
) -> nn.Module:
    """`timm.create_model(name, num_classes=classes, in_chans=C, **arguments)`, which gives logits.

    Weights are random unless `arguments` have `pretrained: true`, for which timm asks its hub.
    Networks that are made for one size of images, such as transformers, take `img_size`.

    Raises InputError: timm is not installed or cannot be imported, rows that are no images, a name
    that timm does not know, or arguments that the network does not take.
    """
    called = f"{TIMM}:{name}"
    if len(in_shape) != 3:
        raise InputError(
            f"{field}: {called} takes images (channels, height, width), but a sample here is a "
            f"vector of shape {in_shape}"
        )
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"{field}: {called} needs {error.name or 'timm'}, which is not installed: "
            'pip install "peerlearn[timm]"'
        ) from None
    except Exception as error:  # a torchvision that was built for another torch
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{field}: {called}: importing timm failed: {reason}") from error
    known = name.startswith(_ELSEWHERE) or timm.is_model(name)
    if not known:
        raise unknown_name("model of timm", name, timm.list_models(), field)
    given = {"num_classes": classes, "in_chans": in_shape[0]} | dict(arguments)
    try:
        network = timm.create_model(name, **given)
    except Exception as error:
        raise InputError(f"{field}: {called} raised {type(error).__name__}: {error}") from error
    assert isinstance(network, nn.Module)
    return network
