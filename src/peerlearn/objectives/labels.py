"""Rows without a label: how they are marked and how they are found."""

from typing import Any

import torch
from torch import Tensor

#: Marks a row without a label in integer targets; in float multi-label targets NaN does.
UNLABELLED = -1


def labelled_rows(y: Tensor) -> Tensor:
    """Which rows of a target carry a label.

    Shapes:
        y: int64 classes of any shape, such as (N,) or (N, height, width), with `UNLABELLED` for
            "none"; or float 0/1 indicators (N, L), or (N, L, height, width) where the masks of
            labels overlap, with NaN for it.
        result: bool, the shape of integer y; that of float y without its label dimension, the
            second. A row counts as labelled when none of its indicators is blank, so that a loss
            over it is finite.
    """
    return ~torch.isnan(y).any(1) if y.is_floating_point() else y != UNLABELLED


def labelled_mask(targets: Any) -> Tensor | None:
    """`labelled_rows`; None of what cannot be labels: numbers (N,) in float, or no tensor."""
    if not isinstance(targets, Tensor) or (targets.is_floating_point() and targets.ndim < 2):
        return None
    return labelled_rows(targets)
