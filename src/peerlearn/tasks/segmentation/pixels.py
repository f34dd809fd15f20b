"""What is counted of a batch of segmentations: sums over pixels, which add up over batches.

Shapes: B images, C classes (labels where masks overlap), M pixels that count, K networks.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from peerlearn.errors import InputError
from peerlearn.metrics.calibration import bin_sums, equal_width
from peerlearn.metrics.rows import to_host
from peerlearn.objectives.labels import labelled_rows
from peerlearn.tasks.segmentation.boundaries import Boundaries, hausdorff95


class Truth(NamedTuple):
    """The targets of a batch.

    Shapes:
        y: (M,) classes, int64; or (M, C) bool where masks overlap.
        counted: (B, height, width), bool.
    """

    y: Tensor
    counted: Tensor
    classes: int
    boundaries: Boundaries | None

    @property
    def multilabel(self) -> bool:
        return self.y.ndim == 2


class Outputs(NamedTuple):
    """What one network, or several together, say of the pixels that count, in float64.

    Shapes:
        p: (M, C) probabilities.
        log_likelihood: log-probability of the truth, (M,); of each label, (M, C), where masks
            overlap.
    """

    p: Tensor
    log_likelihood: Tensor


class Counts(NamedTuple):
    """Sums over pixels that count.

    Attributes:
        pixels, decisions: how many; every label of a pixel is a decision where masks overlap.
        wrong: decisions.
        nll, brier: of pixels.
        bins: of decisions; see `bin_sums`.
        hits, found, there: pixels of each class, (C,): predicted rightly, predicted, true.
        distance, regions: sum and number of the Hausdorff distances that are defined.
    """

    pixels: int
    decisions: int
    wrong: int
    nll: float
    brier: float
    bins: Tensor
    hits: Tensor
    found: Tensor
    there: Tensor
    distance: float
    regions: int

    def plus(self, other: Self | None) -> Self:
        """The sums over the pixels of both."""
        if other is None:
            return self
        pairs: Iterable[tuple[Any, Any]] = zip(self, other, strict=True)
        return type(self)(*(a + b for a, b in pairs))


class Judged(NamedTuple):
    """The decisions of one network and what they count; the first two compare networks.

    Shapes:
        decision, wrong: (M,), or (M · C,) where masks overlap.
    """

    decision: Tensor
    wrong: Tensor
    counts: Counts


def read_truth(y: Tensor, classes: int, boundaries: bool) -> Truth:
    """The truth, where every pixel has one class or where masks overlap.

    Shapes:
        y: (B, height, width), int, −1 where a pixel does not count; or (B, C, height, width),
            float 0 or 1, NaN there.

    Raises:
        InputError: anything else in `y`.
    """
    y, multilabel = y.detach().cpu(), y.ndim == 4
    if y.is_floating_point() and not multilabel:
        raise InputError(f"metrics: y must hold integer classes, found {y.dtype}")
    counted = labelled_rows(y)
    kept = y.movedim(1, -1)[counted] if multilabel else y[counted]
    odd = kept[(kept != 0) & (kept != 1)] if multilabel else kept[(kept < 0) | (kept >= classes)]
    if len(odd):
        what = f"class {int(odd[0])}; allowed: 0 to {classes - 1}, or -1"
        if multilabel:
            what = f"{odd[0].item():g}; allowed: 0, 1, or NaN"
        y_holds = "multi-label y holds" if multilabel else "y holds"
        raise InputError(f"metrics: {y_holds} {what} where a pixel does not count")
    kept = kept.bool() if multilabel else kept.long()
    edges = _boundaries(kept, counted, classes) if boundaries else None
    return Truth(kept, counted, classes, edges)


def read_outputs(logits: Tensor, truth: Truth) -> Outputs:
    """What a network says, from its logits (B, C, height, width)."""
    if truth.multilabel:
        z_MC = to_host(logits).movedim(1, -1)[truth.counted].double()
        return Outputs(z_MC.sigmoid(), logsigmoid(torch.where(truth.y, z_MC, -z_MC)))
    log_probs = torch.log_softmax(to_host(logits), 1, dtype=torch.float64)
    log_p_MC = log_probs.movedim(1, -1)[truth.counted]
    return Outputs(log_p_MC.exp(), log_p_MC.gather(1, truth.y[:, None])[:, 0])


def together(several: Sequence[Outputs]) -> Outputs:
    """The mean probability of K networks."""
    p_MC = torch.stack([outputs.p for outputs in several]).mean(0)
    log_likelihood_K = torch.stack([outputs.log_likelihood for outputs in several])
    return Outputs(p_MC, torch.logsumexp(log_likelihood_K, 0) - math.log(len(several)))


def judge(outputs: Outputs, truth: Truth) -> Judged:
    """Predictions against the truth; a pixel with NaN is predicted to be of no class: wrong."""
    (p_MC, log_likelihood), y = outputs, truth.y
    if truth.multilabel:
        decision = p_MC > 0.5
        wrong = (decision != y) | p_MC.isnan()
        confidence, came_true = p_MC.flatten(), y.flatten()
        brier = (p_MC - y.double()).square().sum()
        hits, found, there = (labels.sum(0) for labels in (decision & y, decision, y))
    else:
        confidence, decision = p_MC.max(1)
        decision[confidence.isnan()] = -1
        confidence = confidence.clamp(max=1)  # rounding can leave it a hair above
        came_true = decision == y
        wrong = ~came_true
        # Σ (p − 1[y])² = Σ p² − 2 p_y + 1, without the indicators in memory.
        brier = p_MC.square().sum() - 2 * log_likelihood.exp().sum() + len(y)
        hits, found, there = (
            torch.bincount(classes, minlength=truth.classes)
            for classes in (y[came_true], decision[decision >= 0], y)
        )
    counts = Counts(
        len(y),
        y.numel(),
        int(wrong.sum()),
        -log_likelihood.sum().item(),
        brier.item(),
        bin_sums(confidence, came_true, equal_width(confidence)),
        hits,
        found,
        there,
        *_distances(truth, decision),
    )
    return Judged(decision.flatten(), wrong.flatten(), counts)


def _distances(truth: Truth, decision: Tensor) -> tuple[float, int]:
    if truth.boundaries is None:
        return 0.0, 0
    found = _boundaries(decision, truth.counted, truth.classes)
    distances = hausdorff95(truth.boundaries, found)
    return float(np.nansum(distances)), int(np.isfinite(distances).sum())


def _boundaries(decision: Tensor, counted: Tensor, classes: int) -> Boundaries:
    """Of classes (M,); of masks that overlap, (M, C), each as an image with a single class."""
    labels = torch.full((*counted.shape, *decision.shape[1:]), -1)
    if decision.ndim == 1:
        labels[counted] = decision
        return Boundaries(labels.numpy(), classes)
    labels[counted] = decision.long() - 1
    return Boundaries(labels.movedim(-1, 1).flatten(0, 1).numpy(), 1)
