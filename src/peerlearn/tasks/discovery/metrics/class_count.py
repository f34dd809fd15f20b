"""How many new classes are there? Scores numbers of clusters on features, and picks one.

Three kinds of evidence. BIC of a Gaussian mixture: is another cluster worth its parameters?
Silhouette: are the clusters of unlabelled rows apart from each other? Probe accuracy (Han, Vedaldi
& Zisserman, ICCV 2019, section 3.2): some known classes play new ones; with the right number of
clusters for everything else, theirs come out as their labels say.

The BIC picks. The other two, which Han et al. combine, are told beside it: features that have
learned the known classes lie in few directions, where the fewest clusters are furthest apart, and
hold together the known classes that play new ones, however many clusters there are.

Shapes: U unlabelled rows, L labelled rows, N rows of any kind, K clusters, D features.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.randomness import derive_seed, keyed_generator
from peerlearn.tasks.discovery.metrics.clustering import cluster_accuracy

Points = NDArray[np.float64]
Labels = NDArray[np.int64]
ROWS = 2_000
"""Unlabelled rows that a mixture or a silhouette is measured on, at most. The cost of a silhouette
is quadratic; no class is a Gaussian, so with many more rows a mixture spends several on each."""
COMPONENTS = 10
"""Leading principal components that a mixture is fitted to, at most: parameters are quadratic."""
MIXTURE_STARTS = 2
REGULARISATION = 1e-3
"""Variance added to every mixture component, of points of variance 1."""


@dataclass(frozen=True)
class CountScore:
    """What speaks for one number of new classes.

    Attributes:
        count: of new classes.
        bic: Bayesian information criterion of a mixture, in nats a row; lower is better.
        silhouette: mean silhouette of k-means on the unlabelled rows, −1 to 1.
        probe_accuracy: of clustering known classes as if they were new, 0 to 1; None without
            labelled rows.
    """

    count: int
    bic: float
    silhouette: float
    probe_accuracy: float | None


@dataclass(frozen=True)
class Estimate:
    """The number of new classes with the lowest BIC, and what speaks for every candidate."""

    count: int
    scores: tuple[CountScore, ...]


def estimate_classes(
    unlabelled: Tensor,
    labelled: Tensor | None,
    y: Tensor | None,
    candidates: Sequence[int],
    seed: int = 0,
    starts: int = 5,
) -> Estimate:
    """The number of new classes among `candidates` with the lowest `CountScore.bic`.

    The known classes are divided at random: half of them, the anchors, are one cluster each that
    keeps its labelled rows; the rest, the probes, are clustered together with the unlabelled rows.
    The probe accuracy of a candidate c is that of k-means with one cluster for each anchor and each
    probe class and c more.

    Args:
        unlabelled: features (U, D) of rows of new classes.
        labelled: features (L, D) of rows of known classes, at least four of them; None for no
            probe accuracy.
        y: (L,), class of each labelled row; None together with `labelled`.
        candidates: numbers of new classes to try, each from 2 to U − 1.
        seed: of the division into anchors and probes and of every start.
        starts: k-means is started so often, the best result counts.

    Raises InputError: features or candidates that cannot be used.
    """
    counts = sorted(set(candidates))
    points = _points(unlabelled, "unlabelled")
    if not counts or counts[0] < 2 or counts[-1] >= len(points):
        raise InputError(
            f"candidates: {list(candidates)[:8]}; allowed: at least one number of classes, each "
            f"from 2 (one cluster has no silhouette) to {len(points) - 1}, below the rows."
        )
    known = None
    if labelled is not None and y is not None:
        known = KnownRows.of(_points(labelled, "labelled"), y.detach().cpu().numpy(), seed)
        if known.points.shape[1] != points.shape[1]:
            raise InputError(
                f"labelled: {known.points.shape[1]} features a row, but unlabelled has "
                f"{points.shape[1]}."
            )
    elif labelled is not None or y is not None:
        raise InputError("labelled: features and classes are given together, or neither.")
    leading = principal_components(points[_some(len(points), seed)])
    scores = tuple(
        CountScore(
            count,
            mixture_bic(leading, count, seed),
            silhouette(points, count, seed, starts),
            None if known is None else probe_accuracy(points, known, count, seed, starts),
        )
        for count in counts
    )
    return Estimate(min(scores, key=lambda score: score.bic).count, scores)


def principal_components(points: Points) -> Points:
    """Coordinates along the leading `COMPONENTS` directions, of variance 1 on average.

    Rows that are all equal give zeros.
    """
    if not np.ptp(points, axis=0).any():
        return np.zeros_like(points)
    leading = PCA(min(COMPONENTS, *points.shape), svd_solver="full").fit_transform(points)
    return leading / leading.std()


def mixture_bic(points: Points, count: int, seed: int = 0) -> float:
    """Bayesian information criterion of `count` Gaussians with covariances of their own.

    (parameters · log rows − 2 log likelihood) / rows (Schwarz 1978); 0 for rows that are all equal.
    """
    if not points.any():
        return 0.0
    options = {"n_init": MIXTURE_STARTS, "reg_covar": REGULARISATION}
    random_state = _numpy_seed(seed, "mixture", count)
    mixture = GaussianMixture(count, random_state=random_state, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as it is after 100 steps
        return float(mixture.fit(points).bic(points)) / len(points)


def silhouette(points: Points, count: int, seed: int = 0, starts: int = 5) -> float:
    """Mean silhouette of `count` clusters of k-means, over at most `ROWS` rows.

    The silhouette of a row is (b − a) / max(a, b), with a its mean distance to rows of its own
    cluster and b that to the rows of the nearest other one (Rousseeuw 1987).
    """
    random_state = _numpy_seed(seed, "silhouette", count)
    clusters = KMeans(count, n_init=starts, random_state=random_state).fit_predict(points)
    chosen = _some(len(points), seed)
    found = len(np.unique(clusters[chosen]))
    if not 2 <= found < len(chosen):  # equal rows leave clusters empty
        return -1.0
    return float(silhouette_score(points[chosen], clusters[chosen]))


@dataclass(frozen=True)
class KnownRows:
    """Labelled rows, anchors first.

    Of classes y (L,) of points (L, D), 0 … anchors − 1 are anchors, the next `probes` probes.
    """

    points: Points
    y: Labels
    anchors: int
    probes: int

    @classmethod
    def of(cls, points: Points, y: Labels, seed: int) -> "KnownRows":
        """Divide the classes of `y` at random.

        Raises InputError: not one class for each row, or fewer than four classes.
        """
        if y.shape != points.shape[:1]:
            raise InputError(f"y: shape {y.shape} for {len(points)} labelled rows.")
        classes, y = np.unique(y, return_inverse=True)
        if len(classes) < 4:
            raise InputError(
                f"y: {len(classes)} known classes; at least 4 are needed to divide them into "
                "anchors and probes. Without labelled rows the silhouette alone decides."
            )
        shuffled = torch.randperm(len(classes), generator=keyed_generator(seed, "anchors"))
        y = shuffled.numpy()[y]
        order = y.argsort(kind="stable")
        anchors = len(classes) // 2
        return cls(points[order], y[order], anchors, len(classes) - anchors)

    @property
    def pinned(self) -> int:
        """How many rows belong to anchors, the first ones."""
        return int((self.y < self.anchors).sum())


def probe_accuracy(
    points: Points, known: KnownRows, count: int, seed: int = 0, starts: int = 5
) -> float:
    """Share of the probes' rows in the cluster that stands for their class.

    Clusters are matched to probe classes one to one, so that most rows fit.
    """
    everything, pinned = np.concatenate([known.points, points]), known.y[: known.pinned]
    wanted, numpy_seed = known.anchors + known.probes + count, _numpy_seed(seed, "probe", count)
    clusters = pinned_kmeans(everything, pinned, wanted, numpy_seed, starts)
    probes = slice(known.pinned, len(known.y))
    return cluster_accuracy(*map(torch.from_numpy, (clusters[probes], known.y[probes])))


def pinned_kmeans(
    points: Points, pinned: Labels, clusters: int, seed: int, starts: int = 5, rounds: int = 100
) -> Labels:
    """k-means in which the first rows keep their cluster: the cluster of every row.

    Args:
        points: all rows (N, D), pinned ones first.
        pinned: (P,), cluster of each pinned row, 0 … A − 1, every one of them used.
        clusters: how many in all, A among them.
        seed: of numpy's generator that draws where free clusters start (k-means++).
        starts: runs, of which the one with the least squared distance counts.
        rounds: of assignment and averaging, at most.
    """
    anchors = np.stack([points[: len(pinned)][pinned == a].mean(0) for a in np.unique(pinned)])
    rest = points[len(pinned) :]
    generator = np.random.RandomState(seed)
    runs = []
    for _ in range(starts):
        start, _ = kmeans_plusplus(rest, clusters - len(anchors), random_state=generator)
        runs.append(_lloyd(points, pinned, np.concatenate([anchors, start]), rounds))
    return min(runs, key=lambda run: run[1])[0]


def _lloyd(points: Points, pinned: Labels, centres: Points, rounds: int) -> tuple[Labels, float]:
    """(cluster of each row, sum of squared distances to its centre)."""
    assigned = np.full(len(points), -1)
    for _ in range(rounds):
        # The nearest centre of each row; |p|² is the same for all of them.
        nearest = ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)
        previous, assigned = assigned, nearest
        assigned[: len(pinned)] = pinned
        if (assigned == previous).all():
            break
        member_KN = (assigned == np.arange(len(centres))[:, None]).astype(points.dtype)
        sizes = member_KN.sum(1, keepdims=True)
        # An empty cluster stays where it is.
        centres = np.where(sizes > 0, member_KN @ points / np.maximum(sizes, 1), centres)
    return assigned, float(((points - centres[assigned]) ** 2).sum())


def _some(rows: int, seed: int) -> Labels:
    """At most `ROWS` of so many rows, the same for every count: scores can be compared."""
    return torch.randperm(rows, generator=keyed_generator(seed, "rows"))[:ROWS].numpy()


def _points(features: Tensor, name: str) -> Points:
    if features.ndim != 2 or not len(features):
        raise InputError(f"{name}: shape {tuple(features.shape)}; allowed: (rows, features).")
    points = features.detach().cpu().double().numpy()
    if not np.isfinite(points).all():
        raise InputError(f"{name}: holds features that are NaN or infinite.")
    return points


def _numpy_seed(seed: int, *key: str | int) -> int:
    return derive_seed(seed, *key) % 2**32
