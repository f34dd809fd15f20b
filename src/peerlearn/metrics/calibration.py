"""Does a stated confidence come true as often as it says? Bins shared by every calibration metric.

    ECE = Σ_b fraction_b · |accuracy_b − confidence_b|

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017; with bins of
equal mass: Nixon et al., "Measuring Calibration in Deep Learning", CVPR Workshops 2019.
"""

from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15


class Bins(NamedTuple):
    """Mean confidence and accuracy in each bin, NaN in empty ones, and its share of the rows.

    Shapes: confidence, accuracy, fraction: (bins,), float64.
    """

    confidence: Tensor
    accuracy: Tensor
    fraction: Tensor


def equal_width(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Bin index of each confidence in `bins` equal parts of [0, 1].

    Bins are [low, high), the last one closed. Edges are in the dtype of `confidence`, as in
    torchmetrics, so that values on an edge fall on the same side of it.

    Shapes: confidence: (N,). Returns (N,), int64.
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype)
    return (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, bins - 1)


def equal_mass(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Bin index of each confidence such that bins hold N / `bins` rows each, up to one.

    Row number r in ascending order falls into bin ⌊r · bins / N⌋. Equal confidences share the bin
    of the first of them: the result does not depend on the order of the rows, and a predictor that
    always says the same is one bin.

    Shapes: confidence: (N,). Returns (N,), int64.
    """
    rank = torch.searchsorted(confidence.sort().values, confidence)
    return (rank * bins // len(confidence)).clamp(0, bins - 1)


def bin_means(confidence: Tensor, correct: Tensor, index: Tensor, bins: int = BINS) -> Bins:
    """Average confidence and correctness by bin.

    Shapes: confidence, correct, index: (N,), `correct` boolean or 0/1, `index` in [0, bins).
    """
    return means_of(bin_sums(confidence, correct, index, bins))


def bin_sums(confidence: Tensor, correct: Tensor, index: Tensor, bins: int = BINS) -> Tensor:
    """What `bin_means` divides, so that rows can be counted in portions and added up.

    Shapes:
        confidence, correct, index: as for `bin_means`.
        result: (3, bins), float64: confidence, correctness, rows.
    """
    rows = torch.ones_like(confidence)
    summed = (confidence, correct, rows)
    return torch.stack([torch.bincount(index, each.double(), bins) for each in summed])


def means_of(sums: Tensor) -> Bins:
    """The averages of `bin_sums`."""
    confidence, correct, count = sums
    return Bins(confidence / count, correct / count, count / count.sum())


def calibration_error(bins: Bins) -> float:
    """Σ_b fraction_b · |accuracy_b − confidence_b| over the bins that hold a row."""
    filled = bins.fraction > 0  # not nansum: NaN confidences of a diverged peer must show
    gap = (bins.accuracy - bins.confidence).abs() * bins.fraction
    return gap[filled].sum().item()


def as_lists(bins: Bins) -> dict[str, list[float | None]]:
    """The bins as JSON holds them: `confidence`, `accuracy` (None if empty) and `fraction`."""
    lists = {name: values.tolist() for name, values in bins._asdict().items()}
    for name in ("confidence", "accuracy"):
        pairs = zip(lists[name], lists["fraction"], strict=True)
        lists[name] = [value if share > 0 else None for value, share in pairs]
    return lists
