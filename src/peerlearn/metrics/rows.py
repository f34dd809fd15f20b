"""Which rows of a prediction count, and whether they can be read at all.

Shapes: N rows, C classes, L labels.
"""

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows

# Wide enough for log-probabilities that went through bfloat16, far too narrow for raw logits.
_SUM_TOLERANCE = 0.05


def labelled(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`labelled_log_probs`, or `labelled_logits` where `y` has two dimensions."""
    return labelled_logits(outputs, y) if y.ndim == 2 else labelled_log_probs(outputs, y)


def labelled_log_probs(log_probs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The labelled rows of single-label predictions, detached, on the CPU, in float32 or wider.

    Shapes: normalised log_probs (N, C), of which a row with NaN (a diverged peer) is kept; integer
    y (N,), -1 where a row has none. Returns (M, C) and (M,) with M the labelled rows.

    Raises InputError: the shapes do not fit, `y` holds no class of `log_probs`, the rows are not
    log-probabilities, or no row is labelled.
    """
    if log_probs.ndim != 2 or y.shape != log_probs.shape[:1]:
        raise InputError(
            f"metrics: expected log_probs (N, C) and y (N,), found {tuple(log_probs.shape)} "
            f"and {tuple(y.shape)}"
        )
    if y.is_floating_point() or y.is_complex():
        raise InputError(f"metrics: y must hold integer classes, found {y.dtype}")
    log_probs, y = to_host(log_probs), y.detach().cpu().long()
    kept = labelled_rows(y)
    log_probs, y = log_probs[kept], y[kept]
    if not len(y):
        raise InputError("metrics: no labelled row (every y is -1); nothing can be measured")
    classes = log_probs.shape[1]
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"metrics: y holds class {low if low < 0 else high}; "
            f"log_probs has {classes} classes, 0 to {classes - 1} (or -1: unlabelled)"
        )
    total = log_probs.exp().sum(1)
    wrong = (total - 1).abs() > _SUM_TOLERANCE  # false for NaN, which stands for divergence
    if wrong.any():
        raise InputError(
            f"metrics: expected log-probabilities, but a row's probabilities sum to "
            f"{total[wrong][0]:.4g}; apply log_softmax to logits first"
        )
    return log_probs, y


def labelled_logits(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The labelled rows of multi-label predictions, in float64 on the CPU.

    A row with NaN in `y` is unlabelled; every other entry must be 0 or 1.

    Shapes: logits, y: (N, L). Returns (M, L) twice with M the labelled rows.

    Raises InputError: the shapes differ, `y` holds anything else, or no row is labelled.
    """
    if logits.ndim != 2 or y.shape != logits.shape:
        raise InputError(
            f"metrics: expected logits and y of one shape (N, L), found {tuple(logits.shape)} "
            f"and {tuple(y.shape)}"
        )
    y = y.detach().cpu().double()
    kept = labelled_rows(y)
    logits, y = to_host(logits).double()[kept], y[kept]
    if not len(y):
        raise InputError(
            "metrics: no labelled row (every row of y holds NaN); nothing can be measured"
        )
    odd = y[(y != 0) & (y != 1)]
    if len(odd):
        raise InputError(
            f"metrics: multi-label y holds {odd[0].item():g}; "
            "allowed: 0, 1, or NaN in an unlabelled row"
        )
    return logits, y


def to_host(values: Tensor) -> Tensor:
    """Detached copy on the CPU, half precision widened to float32.

    Metrics accumulate in float64, which not every accelerator has.
    """
    values = values.detach().cpu()
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
