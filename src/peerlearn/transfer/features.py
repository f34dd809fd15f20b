"""Feature knowledge: what a peer's intermediate maps say, and losses that compare two.

Every loss compares one map of a teacher with one of a learner, row by row, in fp32.

Shape suffixes: R rows (batch or nodes), C channels, H height, W width.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

FeatureLossName = Literal["hint", "attention", "similarity"]

LAST = "last"
"""Names the last feature of a peer that is a map, or its last feature where none is."""


def hint(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean squared difference of two maps of one shape.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3. A learner of another
    shape goes through an adapter first; see `adapter_for`.

    Shapes:
        teacher, learner: (R, C, ...); result: (R,)
    """
    squares = (learner - teacher).square()
    # Divided last, where numbers are fewest; nothing is flattened, so that gradients lie in memory
    # as the maps do.
    return squares.sum(tuple(range(1, squares.ndim))) / math.prod(squares.shape[1:])


def attention(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean squared difference of two attention maps: channels may differ, the scale has no say.

    A = mean over channels of F², divided by its L2 norm over all positions. Zagoruyko & Komodakis,
    "Paying More Attention to Attention", ICLR 2017, equation 2 with p = 2, in its authors' scale.

    Shapes:
        teacher: (R, C, H, W); learner: (R, C', H, W); result: (R,)
    """
    return (_attention_map(teacher) - _attention_map(learner)).square().mean(1)


def similarity(teacher: Tensor, learner: Tensor) -> Tensor:
    """Mean squared difference of how alike the rows of a batch are to each other.

    G = F Fᵀ of the flattened maps, each of its rows divided by its L2 norm. Tung & Mori,
    "Similarity-Preserving Knowledge Distillation", ICCV 2019, equation 4. The maps may have any
    two shapes; time and memory grow with R².

    Shapes:
        teacher: (R, ...); learner: (R, ...); result: (R,)
    """
    return (_likeness(teacher) - _likeness(learner)).square().mean(1)


FEATURE_LOSSES: Mapping[FeatureLossName, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"hint": hint, "attention": attention, "similarity": similarity}
)


def to_common_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps, averaged over areas to the smaller height and the smaller width of the two.

    A vector beside a map stands for its mean over all positions.

    Shapes:
        first: (R, C, H, W) or (R, C); second: (R, C', H', W') or (R, C').
    """
    if first.ndim == second.ndim == 4:
        height, width = (min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True))
        return _averaged(first, height, width), _averaged(second, height, width)
    if {first.ndim, second.ndim} == {2, 4}:
        return _averaged(first, 1, 1).flatten(1), _averaged(second, 1, 1).flatten(1)
    return first, second


def _averaged(x: Tensor, height: int, width: int) -> Tensor:
    if x.ndim == 2 or x.shape[2:] == (height, width):
        return x
    return F.adaptive_avg_pool2d(x, (height, width))


def _attention_map(x_RCHW: Tensor) -> Tensor:
    return F.normalize(x_RCHW.square().mean(1).flatten(1), dim=1)


def _likeness(x: Tensor) -> Tensor:
    x_RF = x.flatten(1)
    return F.normalize(x_RF @ x_RF.T, dim=1)
