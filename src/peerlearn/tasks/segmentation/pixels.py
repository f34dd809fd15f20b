"""What is counted of a batch of segmentations: sums over pixels, which add up over batches.

Shapes: B images, C classes (labels where masks overlap), M pixels that count, K networks, N images
whose boundaries are compared, P boundary pixels of all of them.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from peerlearn.errors import InputError
from peerlearn.metrics.calibration import bin_sums, equal_width
from peerlearn.metrics.rows import to_host
from peerlearn.objectives.labels import labelled_rows

if TYPE_CHECKING:
    from scipy.spatial import KDTree

PERCENTILE = 0.95


class Boundaries:
    """The boundary pixels of every class in every image.

    A pixel is on the boundary of its class where one of its four neighbours is of another class, or
    outside the image.

    `labels` are int (N, height, width), below 0 where a pixel belongs to none of C `classes`.
    """

    def __init__(self, labels: NDArray[Any], classes: int) -> None:
        images, height, width = labels.shape
        self.diagonal = float(np.hypot(height, width))
        self.far = float(height + width)
        self.shape = (images, classes)
        image, row, column = (_on_boundary(labels) & (labels >= 0)).nonzero()
        #: (P,) a class in an image has the number image · C + class.
        self.region = image * classes + labels[image, row, column]
        #: (N, height, width) the region of every boundary pixel, −1 elsewhere.
        self.regions: NDArray[np.int64] = np.full(labels.shape, -1)
        self.regions[image, row, column] = self.region
        #: (N · C,) boundary pixels of each region.
        self.counts = np.bincount(self.region, minlength=images * classes)
        self.pixel = (image, row, column)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """(P, 3) boundary pixels, with regions so far apart that the nearest is of one's own."""
        _, row, column = self.pixel
        return np.stack([self.region * self.far, row, column], 1)

    @cached_property
    def tree(self) -> "KDTree":
        """Finds the nearest boundary pixel; built once, however many ask."""
        from scipy.spatial import KDTree

        return KDTree(self.points, balanced_tree=False, compact_nodes=False)

    def distances_to(self, other: "Boundaries") -> NDArray[np.float64]:
        """(P,) from each boundary pixel to the nearest of the other's; 0 where that has none."""
        apart = (other.regions[self.pixel] != self.region) & (other.counts[self.region] > 0)
        distances = np.zeros(len(self.region))
        if apart.any():
            distances[apart] = other.tree.query(self.points[apart])[0]
        return distances


def hausdorff95(a: Boundaries, b: Boundaries) -> NDArray[np.float64]:
    """The 95 % Hausdorff distance between two segmentations of the same images, in pixels.

    The larger of two percentiles: of the distances from a's boundary to b's, and back (interpolated
    linearly, as MONAI does). A class that only one of them has is as far as can be, the diagonal of
    the image; a class that neither has is NaN. Huttenlocher, Klanderman, Rucklidge, "Comparing
    images using the Hausdorff distance", TPAMI 1993. Returns (N, C).
    """
    there, back = (
        _percentiles(one.distances_to(other), one.region, one.counts)
        for one, other in ((a, b), (b, a))
    )
    only_one = (a.counts > 0) ^ (b.counts > 0)
    distances = np.where(only_one, a.diagonal, np.maximum(there, back))
    distances[(a.counts == 0) & (b.counts == 0)] = np.nan
    return distances.reshape(a.shape)


def _on_boundary(labels: NDArray[Any]) -> NDArray[np.bool_]:
    boundary = np.zeros(labels.shape, dtype=bool)
    for axis in (1, 2):
        along, lines = np.moveaxis(boundary, axis, 0), np.moveaxis(labels, axis, 0)
        changes = lines[1:] != lines[:-1]
        along[1:] |= changes
        along[:-1] |= changes
        along[[0, -1]] = True
    return boundary


def _percentiles(
    values: NDArray[np.float64], group: NDArray[Any], counts: NDArray[Any]
) -> NDArray[np.float64]:
    ordered = np.append(values[np.lexsort((values, group))], 0.0)
    place = PERCENTILE * np.maximum(counts - 1, 0)
    low = np.cumsum(counts) - counts + place.astype(int)
    share = place % 1
    return np.where(
        counts > 0,
        (1 - share) * ordered[low] + share * ordered[np.minimum(low + 1, len(values))],
        0.0,
    )


class Truth(NamedTuple):
    """The targets of a batch, `y` (M,) int64 or, where masks overlap, (M, C) bool."""

    y: Tensor
    counted: Tensor
    classes: int
    boundaries: Boundaries | None

    @property
    def multilabel(self) -> bool:
        return self.y.ndim == 2


class Outputs(NamedTuple):
    """What one network, or several together, say of the pixels that count, in float64.

    Probabilities (M, C), and the log-probability of the truth, (M,); of each label, (M, C), where
    masks overlap.
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
    """The decisions of one network, (M,) or (M · C,) where masks overlap, and what they count.

    `confidence` and `came_true` are of decisions, as calibration takes them; `distances` are
    `hausdorff95` of the batch, (B, C), None where boundaries are not compared.
    """

    decision: Tensor
    wrong: Tensor
    counts: Counts
    confidence: Tensor
    came_true: Tensor
    distances: Tensor | None


def read_truth(y: Tensor, classes: int, boundaries: bool) -> Truth:
    """The truth, where every pixel has one class or where masks overlap.

    Shapes:
        y: (B, height, width), int, −1 where a pixel does not count; or (B, C, height, width),
            float 0 or 1, NaN there.

    Raises InputError: anything else in `y`.
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
    distances = _distances(truth, decision)
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
        0.0 if distances is None else float(np.nansum(distances)),
        0 if distances is None else int(np.isfinite(distances).sum()),
    )
    by_image = None if distances is None else torch.from_numpy(distances)
    if by_image is not None:
        by_image = by_image.reshape(len(truth.counted), -1)
    return Judged(decision.flatten(), wrong.flatten(), counts, confidence, came_true, by_image)


def _distances(truth: Truth, decision: Tensor) -> NDArray[np.float64] | None:
    if truth.boundaries is None:
        return None
    return hausdorff95(truth.boundaries, _boundaries(decision, truth.counted, truth.classes))


def _boundaries(decision: Tensor, counted: Tensor, classes: int) -> Boundaries:
    """Of classes (M,); of masks that overlap, (M, C), each as an image with a single class."""
    labels = torch.full((*counted.shape, *decision.shape[1:]), -1)
    if decision.ndim == 1:
        labels[counted] = decision
        return Boundaries(labels.numpy(), classes)
    labels[counted] = decision.long() - 1
    return Boundaries(labels.movedim(-1, 1).flatten(0, 1).numpy(), 1)
