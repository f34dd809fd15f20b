"""Targets as loops of one's own have them, read as the labels that objectives and edges know.

What is plain is converted: any integer type, a column (N, 1), one-hot rows, −100 for a row without
a label as in `nn.CrossEntropyLoss`. What is not is refused in words, before torch meets it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.transfer.outputs import OutputForm

#: What torch's own losses leave out (`ignore_index`).
IGNORED = -100


def read_labels(targets: Any, logits: Tensor, form: OutputForm, look: bool = True) -> Tensor:
    """Labels of the rows of `logits`.

    Args:
        targets: a tensor, an array or a list of numbers.
        logits: of any peer, (N, C, ...).
        form: of the cohort.
        look: also look at values, which on an accelerator waits for it.

    Shapes:
        result: int64 (N, ...) classes, −1 where there is no label; with form `sigmoid` float
            (N, C, ...) of 0 and 1, NaN where there is no label.

    Raises InputError: no rows, targets that do not fit the outputs, or values that are no labels;
    says what was found and what is allowed.
    """
    y = _tensor(targets)
    shape = tuple(logits.shape)
    if len(shape) < 2:
        raise InputError(f"outputs: shape {shape}; expected logits (rows, classes)")
    if not shape[0]:
        raise InputError("x: the batch is empty; a loss needs at least one row, so leave it out")
    if y.device != logits.device:
        raise InputError(f"targets: on {y.device}, but the outputs are on {logits.device}")
    if form == "sigmoid":
        return _indicators(y, shape, look)
    return _classes(y, shape, look)


def _tensor(targets: Any) -> Tensor:
    if isinstance(targets, Tensor):
        return targets
    try:
        return torch.as_tensor(np.asarray(targets))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"targets: found {type(targets).__name__} that are no labels; expected a tensor of "
            "classes (N,), or of 0 and 1 (N, labels) with form 'sigmoid'"
        ) from None


def _classes(y: Tensor, shape: tuple[int, ...], look: bool) -> Tensor:
    rows, classes = (shape[0], *shape[2:]), shape[1]
    if classes < 2:
        raise InputError(
            f"outputs: shape {shape}: over one class softmax is always 1 and nothing is learnt; "
            "give two outputs, or the cohort form='sigmoid'"
        )
    if tuple(y.shape) == (rows[0], 1, *rows[1:]):
        y = y.squeeze(1)
    elif tuple(y.shape) == shape:
        y = _from_one_hot(y, look)
    if tuple(y.shape) != rows:
        found = f"{len(y)} for {rows[0]} rows" if y.ndim == 1 else f"shape {tuple(y.shape)}"
        raise InputError(f"targets: {found}; outputs of shape {shape} need classes of shape {rows}")
    if y.is_floating_point():
        y = _whole(y, look)
    if y.dtype.is_complex:
        raise InputError(f"targets: found {y.dtype}; expected classes, whole numbers")
    y = y.long()
    if not (look or y.is_cpu):
        return y.masked_fill(y == IGNORED, UNLABELLED)
    low, high = (end.item() for end in y.aminmax())
    if low < UNLABELLED:
        y = y.masked_fill(y == IGNORED, UNLABELLED)
        low = int(y.min())
    if low < UNLABELLED or high >= classes:
        wrong = ((y < UNLABELLED) | (y >= classes)).nonzero()
        raise InputError(
            f"targets: {len(wrong)} are no class, the first is {int(y[tuple(wrong[0])])} in row "
            f"{int(wrong[0][0])}; outputs have {classes} classes, so allowed are 0 to "
            f"{classes - 1}, and -1 or -100 for a row without a label"
        )
    return y


def _whole(y: Tensor, look: bool) -> Tensor:
    if (look or y.is_cpu) and not bool((y == y.round()).all()):
        found = y[y != y.round()][0].item()
        raise InputError(
            f"targets: found {y.dtype} numbers such as {found:g}, which are no classes; expected "
            "whole numbers (for other targets, write a peerlearn.Objective of your own)"
        )
    return y


def _from_one_hot(y: Tensor, look: bool) -> Tensor:
    """Classes of one-hot rows; of a row that is NaN throughout, none."""
    blank = torch.isnan(y).any(1) if y.is_floating_point() else None
    if look or y.is_cpu:
        ones = (y == 1).sum(1)
        right = (ones == 1) & ((y == 0) | (y == 1)).all(1)
        right = right if blank is None else right | blank
        if not bool(right.all()):
            place = (~right).nonzero()[0]
            found = y.movedim(1, -1)[tuple(place)].tolist()
            raise InputError(
                f"targets: {y.dtype} in a cohort of form 'softmax': row {int(place[0])} holds "
                f"{found[:8]}, not a single 1 among 0. Give classes (N,); for several labels a "
                "row give the cohort form='sigmoid'; for probabilities write a "
                "peerlearn.Objective of your own"
            )
    classes = y.argmax(1) if y.dtype != torch.bool else y.long().argmax(1)
    return classes if blank is None else classes.masked_fill(blank, UNLABELLED)


def _indicators(y: Tensor, shape: tuple[int, ...], look: bool) -> Tensor:
    rows, labels = (shape[0], *shape[2:]), shape[1]
    if labels == 1 and tuple(y.shape) == rows:
        y = y.unsqueeze(1)
    if tuple(y.shape) != shape:
        hint = "; for one class a row give the cohort form='softmax'" if y.ndim == 1 else ""
        raise InputError(
            f"targets: shape {tuple(y.shape)} in a cohort of form 'sigmoid'; outputs of shape "
            f"{shape} need 0 and 1 of the same shape{hint}"
        )
    if not y.is_floating_point():
        blank = (y == UNLABELLED) | (y == IGNORED) if y.dtype.is_signed else None
        y = y.float()
        y = y if blank is None else y.masked_fill(blank, torch.nan)
    if look or y.is_cpu:
        wrong = (y < 0) | (y > 1)
        if bool(wrong.any()):
            raise InputError(
                f"targets: found {y[wrong][0].item():g} in a cohort of form 'sigmoid'; allowed: 0 "
                "to 1, and NaN in a row without a label"
            )
    return y
