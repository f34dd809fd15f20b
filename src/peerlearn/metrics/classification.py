"""How good and how well calibrated one classifier is, and what several say together.

Shapes: N rows, C classes, L labels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from peerlearn.errors import InputError
from peerlearn.metrics.calibration import (
    BINS,
    as_lists,
    bin_means,
    calibration_error,
    equal_mass,
    equal_width,
)
from peerlearn.metrics.rows import labelled, labelled_log_probs, labelled_logits, to_host
from peerlearn.metrics.uncertainty import aurc


def classification_metrics(log_probs: Tensor, y: Tensor) -> dict[str, float]:
    """Quality of single-label predictions. Fractions, not percent; entropies in nats.

    With p = exp(log_probs) and means over the labelled rows:

    - `accuracy`: argmax p = y. `top5`: y among the five largest, only where C > 5.
    - `nll`: −log p_y.
    - `ece`: calibration error of the largest probability over 15 bins of equal width. torchmetrics
      gives the same, except that it sets confidences of exactly 1 apart from the last bin.
    - `adaptive_ece`: the same over 15 bins of equal mass.
    - `brier`: Σ_c (p_c − 1[y = c])², summed over classes: between 0 and 2.
    - `entropy`: −Σ_c p_c log p_c, of the prediction; says nothing of right or wrong.
    - `aurc`: area under the risk–coverage curve, by confidence; see `metrics.uncertainty.aurc`.

    A row that holds NaN counts as wrong, and makes every metric but the accuracies NaN.

    Shapes: normalised log_probs (N, C), float; y (N,), int, rows at -1 are left out.

    Raises InputError: shapes or classes do not fit, or no row is labelled.
    """
    return _single_label(*labelled_log_probs(log_probs, y))


def _single_label(log_probs: Tensor, y: Tensor) -> dict[str, float]:
    confidence, correct = top1(log_probs, y)
    means = {name: each.mean().item() for name, each in _rows_single_label(log_probs, y).items()}
    likeliest = {name: means.pop(name) for name in ("accuracy", "top5") if name in means}
    return likeliest | {
        "nll": means.pop("nll"),
        "ece": calibration_error(bin_means(confidence, correct, equal_width(confidence))),
        "adaptive_ece": calibration_error(bin_means(confidence, correct, equal_mass(confidence))),
        **means,
        "aurc": aurc(confidence, correct),
    }


def _rows_single_label(log_probs: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What each row adds to the metrics that are means over rows, float64 (N,)."""
    classes = log_probs.shape[1]
    p = log_probs.double().exp()
    scores = {"accuracy": top1(log_probs, y)[1].double()}
    if classes > 5:
        in_top5 = (log_probs.topk(5).indices == y[:, None]).any(1) & ~log_probs.isnan().any(1)
        scores["top5"] = in_top5.double()
    return scores | {
        "nll": -log_probs.double().gather(1, y[:, None])[:, 0],
        "brier": (p - one_hot(y, classes)).square().sum(1),
        "entropy": torch.special.entr(p).sum(1),  # 0 · log 0 = 0
    }


def multilabel_metrics(logits: Tensor, y: Tensor) -> dict[str, float]:
    """Quality of multi-label predictions, every label its own yes or no, p = sigmoid(logits).

    - `accuracy`: share of the N · L decisions p > ½ that are right.
    - `exact_match`: share of the rows with every label right.
    - `nll`: −log p(y) of a row's labels together: binary cross-entropies *summed* over labels,
      mean over rows.
    - `ece`: calibration error of p against y over all decisions, 15 bins of equal width; the
      probability of "yes", not of the decision taken.
    - `brier`: (p − y)² summed over labels, mean over rows.
    - `f1`: 2tp / (2tp + fp + fn) by label, mean over labels; 0 for a label neither there nor found.

    Shapes: logits and y (N, L), float; y holds 0 or 1, and NaN in rows that are left out.

    Raises InputError: shapes or values do not fit, or no row is labelled.
    """
    return _multilabel(*labelled_logits(logits, y))


def _multilabel(logits: Tensor, y: Tensor) -> dict[str, float]:
    p, positive = logits.sigmoid(), logits > 0
    means = {name: each.mean().item() for name, each in _rows_multilabel(logits, y).items()}
    true_positive = (positive & y.bool()).sum(0).double()
    found_or_there = positive.sum(0) + y.sum(0)  # = 2tp + fp + fn
    flat = p.flatten()
    return {
        "accuracy": means["accuracy"],
        "exact_match": means["exact_match"],
        "nll": means["nll"],
        "ece": calibration_error(bin_means(flat, y.flatten(), equal_width(flat))),
        "brier": means["brier"],
        "f1": (2 * true_positive / found_or_there.clamp(min=1)).mean().item(),
    }


def _rows_multilabel(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    right = ((logits > 0) == y.bool()) & ~logits.isnan()
    cross_entropy = -logsigmoid(torch.where(y.bool(), logits, -logits))
    return {
        "accuracy": right.double().mean(1),  # of as many decisions in every row
        "exact_match": right.all(1).double(),
        "nll": cross_entropy.sum(1),
        "brier": (logits.sigmoid() - y).square().sum(1),
    }


def measured(outputs: Tensor, y: Tensor) -> dict[str, float]:
    """The metrics of rows that `labelled` has checked."""
    return _multilabel(outputs, y) if y.ndim == 2 else _single_label(outputs, y)


def row_scores(outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What each row that `labelled` has checked adds to `measured`, float32 (N,).

    By their names the metrics that are means over rows: `accuracy`, `top5`, `nll`, `brier` and
    `entropy`; of several labels a row `accuracy`, `exact_match`, `nll` and `brier`. Where a row has
    one label also `confidence`, the largest probability, `predicted`, its class (−1 where the
    outputs are NaN) and `label`, by which every other metric can be computed again.
    """
    if y.ndim == 2:
        return {name: each.float() for name, each in _rows_multilabel(outputs, y).items()}
    confidence, _ = top1(outputs, y)
    predicted = outputs.argmax(1).masked_fill(confidence.isnan(), -1)
    found = _rows_single_label(outputs, y)
    found |= {"confidence": confidence, "predicted": predicted, "label": y}
    return {name: each.float() for name, each in found.items()}


def reliability(outputs: Tensor, y: Tensor, bins: int = BINS) -> dict[str, list[float | None]]:
    """What a reliability diagram draws: bins of equal width over the confidence.

    Σ fraction · |accuracy − confidence| over the bins is the `ece` of the same predictions.

    Outputs are log-probabilities; multi-label logits where `y` has two dimensions.

    Returns `confidence`, `accuracy` (None in empty bins) and `fraction`, each of length `bins`.
    """
    return binned(*labelled(outputs, y), bins)


def binned(outputs: Tensor, y: Tensor, bins: int = BINS) -> dict[str, list[float | None]]:
    """`reliability` of rows that `labelled` has checked."""
    if y.ndim == 2:
        confidence, correct = outputs.sigmoid().flatten(), y.flatten()
    else:
        confidence, correct = top1(outputs, y)
    return as_lists(bin_means(confidence, correct, equal_width(confidence, bins), bins))


def ensemble_log_probs(log_probs: Sequence[Tensor]) -> Tensor:
    """Log of the mean probability, log (1/K) Σ_k exp(log_probs_k): not the mean of logits.

    Shapes: log_probs: K tensors (N, C). Returns (N, C).

    Raises InputError: no tensor, or tensors of different shapes.
    """
    return torch.logsumexp(_stacked(log_probs), 0) - math.log(len(log_probs))


def ensemble_multilabel_logits(logits: Sequence[Tensor]) -> Tensor:
    """Logit of the mean probability, logit (1/K) Σ_k sigmoid(logits_k).

    Shapes: logits: K tensors (N, L). Returns (N, L).

    Raises InputError: no tensor, or tensors of different shapes.
    """
    z_KNL = _stacked(logits)
    return torch.logsumexp(logsigmoid(z_KNL), 0) - torch.logsumexp(logsigmoid(-z_KNL), 0)


def top1(log_probs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Largest probability of each row, in the dtype of `log_probs`, and whether it is y's."""
    top = log_probs.max(1)
    # Rounding can leave a log-probability a hair above 0.
    return top.values.exp().clamp(max=1), (top.indices == y) & ~top.values.isnan()


def _stacked(outputs: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(output.shape) for output in outputs}
    if len(shapes) != 1:
        found = ", ".join(map(str, sorted(shapes))) or "none"
        raise InputError(f"ensemble: expected outputs of one shape, found {found}")
    return torch.stack([to_host(output) for output in outputs])
