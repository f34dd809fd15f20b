"""Mean and standard deviation of each channel, read in chunks."""

from collections.abc import Callable

import torch
from torch import Tensor

VALUES_PER_CHUNK = 4_000_000


def channel_statistics(
    rows: Callable[[Tensor], Tensor], index: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, population standard deviation), C floats each, over every axis but the second.

    `rows` gives the rows at an index, (n, C, ...); of these at least one is measured. uint8 values
    are divided by 255 first.
    """
    first = _channels(rows(index[:1]))
    # Sums are taken around the first row's mean: plain squares would cancel catastrophically
    # where the mean is large beside the deviation.
    shift_C1 = first.mean(1, keepdim=True)
    total_C = torch.zeros(len(first), dtype=torch.float64)
    square_C = torch.zeros(len(first), dtype=torch.float64)
    values = 0
    for chunk in index.split(max(1, VALUES_PER_CHUNK // first.numel())):
        centred_CV = _channels(rows(chunk)) - shift_C1
        total_C += centred_CV.sum(1)
        square_C += centred_CV.square().sum(1)
        values += centred_CV.shape[1]
    offset_C = total_C / values
    std_C = (square_C / values - offset_C.square()).clamp(min=0).sqrt()
    return tuple((shift_C1[:, 0] + offset_C).tolist()), tuple(std_C.tolist())


def _channels(x: Tensor) -> Tensor:
    """(n, C, ...) as float64 (C, values), uint8 scaled to [0, 1]."""
    flat_CV = x.transpose(0, 1).flatten(1).double()
    return flat_CV / 255 if x.dtype == torch.uint8 else flat_CV
