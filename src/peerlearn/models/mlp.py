"""Multilayer perceptron."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from peerlearn.models.arguments import Count, Rate
from peerlearn.models.backbone import Backbone, Shape
from peerlearn.models.blocks import dropout as drop


def mlp(
    in_shape: Shape, classes: int, *, hidden: Sequence[Count] = (256, 256), dropout: Rate = 0.0
) -> Backbone:
    """Multilayer perceptron on vectors or flattened images.

    Args:
        hidden: units of each hidden layer; none at all leaves a linear classifier.
        dropout: rate after every hidden layer.
    """
    sizes = [math.prod(in_shape), *hidden]
    stages = [
        nn.Sequential(nn.Linear(units_in, units), nn.ReLU(), drop(dropout))
        for units_in, units in pairwise(sizes)
    ]
    return Backbone(stages, sizes[-1], classes, stem=nn.Flatten(), pool=nn.Identity())
