"""What unlabelled rows turn out to be: their clusters, images of each, and how right pairs are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.cohort import Cohort, forward_peers
from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.evaluate import Forward, Rows
from peerlearn.engine.precision import Precision
from peerlearn.engine.task import Trained
from peerlearn.metrics.assessment import mean_metrics
from peerlearn.modes import evaluating
from peerlearn.randomness import keyed_generator
from peerlearn.report.pictures import visible
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset, DiscoveryInfo
from peerlearn.tasks.discovery.metrics import clustering
from peerlearn.tasks.discovery.metrics.assessment import DiscoveryAssessment
from peerlearn.tasks.discovery.metrics.clustering import Clusters
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective

IMAGES = 12
"""Of a cluster, on its contact sheet."""
LONGEST_SIDE = 48


def classes_compete(config: DiscoveryConfig, info: DiscoveryInfo) -> bool:
    """Whether known and new classes are told apart by one decision."""
    return config.incremental or info.generalised


def assessment_of(config: DiscoveryConfig, info: DiscoveryInfo) -> DiscoveryAssessment:
    """Begins to measure rows of a run."""
    together, members = classes_compete(config, info), config.evaluation.members
    return DiscoveryAssessment(info.known, together, members=members)


def one_softmax(config: DiscoveryConfig, info: DiscoveryInfo) -> bool:
    """Whether logits of known and new classes were trained beside each other.

    If not, each kind was trained on rows of its own only, and one says nothing of the other.
    """
    beside = config.method == "uno" or (
        config.method == "pairs" and config.objective.unlabelled_are_new > 0
    )
    return beside or classes_compete(config, info)


def with_orders(
    info: DiscoveryInfo, logits: Mapping[str, Tensor], members: Sequence[str]
) -> DiscoveryInfo:
    """`info` with the order of clusters of every branch, from `unlabelled_logits`.

    The order is that of the first of `members`, the branches that make the ensemble.
    """
    # Branches outside of the ensemble come after it, in order of the same first member.
    names = [*members, *(name for name in logits if name not in members)]
    orders = clustering.cluster_orders([logits[name] for name in names], info.known)
    numbers = (tuple(order.tolist()) for order in orders)
    return info.model_copy(update={"orders": dict(zip(names, numbers, strict=True))})


def found_clusters(
    logits: Mapping[str, Tensor], info: DiscoveryInfo, config: DiscoveryConfig, who: Sequence[str]
) -> Clusters:
    """Which class, in `info.class_names`, the branches `who` together give every row.

    `logits` are (N, classes) by name.
    """
    start = 0 if classes_compete(config, info) else info.known
    orders = {name: torch.tensor(info.orders[name]) for name in who}
    members = [clustering.in_order(logits[n].double(), orders[n], info.known) for n in who]
    number, confidence = clustering.decided(members, slice(start, None))
    return Clusters(torch.where(number >= 0, number + start, -1), confidence)


def members_of(cohort: Cohort, config: DiscoveryConfig) -> list[str]:
    """Branches that make the ensemble, in the cohort's order."""
    chosen = config.evaluation.members
    return [name for name in cohort.names if chosen is None or name in chosen]


def unlabelled_logits(forward: Forward, rows: Rows) -> dict[str, Tensor]:
    """What every branch says of the unlabelled rows, float64 (N, known + new), on the CPU."""
    parts: dict[str, list[Tensor]] = {}
    for logits, _ in forward(rows):
        for name, z in logits.items():
            parts.setdefault(name, []).append(z.double())
    return {name: torch.cat(each) for name, each in parts.items()}


def contact_sheets(
    logits: Mapping[str, Tensor],
    members: Sequence[str],
    data: DiscoveryDataset,
    info: DiscoveryInfo,
    config: DiscoveryConfig,
    images: int = IMAGES,
) -> dict[str, NDArray[Any]]:
    """The unlabelled images of which the ensemble is surest, of every cluster that has any.

    `logits` are from `unlabelled_logits`, and `images` of each cluster are shown where there are so
    many.

    Returns:
        Of K clusters and B images of each: `clusters` (K,), the names of those that have an image;
        `sizes` (K,); `images` uint8 (K, B, H, W) or (K, B, H, W, 3), the surest first; `confidence`
        float32 (K, B), NaN where a cluster has fewer than B images; and, where the truth of its
        images is known, `classes` (K,), the name of the one that most of them are of, else "", and
        `shares` (K,) of that class among them, else NaN. Large images are made smaller.
    """
    number, confidence = found_clusters(logits, info, config, members)
    truth = data.truth[data.unlabelled]
    shown, sure, rows_of = [], [], {}
    for cluster in number[number >= 0].unique().tolist():
        rows_of[cluster] = rows = (number == cluster).nonzero()[:, 0]
        best = rows[confidence[rows].argsort(descending=True, stable=True)][:images]
        pictures = _small(visible(data.train.rows(data.unlabelled[best])))
        blank = images - len(best)
        shown.append(np.pad(pictures, [(0, blank)] + [(0, 0)] * (pictures.ndim - 1)))
        sure.append(F.pad(confidence[best].float(), (0, blank), value=torch.nan).numpy())
    common = [_most_common(truth[rows]) for rows in rows_of.values()]
    return {
        "clusters": np.array([info.class_names[cluster] for cluster in rows_of]),
        "sizes": np.array([len(rows) for rows in rows_of.values()]),
        "images": np.stack(shown),
        "confidence": np.stack(sure),
        "classes": np.array([data.class_names[c] if c >= 0 else "" for c, _ in common]),
        "shares": np.array([share for _, share in common], np.float32),
    }


def _most_common(truth: Tensor) -> tuple[int, float]:
    """The most common class and its share of the rows with a class; (−1, NaN) where none has."""
    known = truth[truth >= 0]
    if not len(known):
        return -1, float("nan")
    counts = known.bincount()
    return int(counts.argmax()), counts.max().item() / len(known)


def _small(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (B, H, W) or (B, H, W, 3), made smaller where they are larger than `LONGEST_SIDE`."""
    height, width = images.shape[1:3]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return images
    grey = images.ndim == 3
    channels = torch.from_numpy(images[:, None] if grey else images.transpose(0, 3, 1, 2))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    reduced = F.interpolate(channels.float(), size, mode="area").round().to(torch.uint8).numpy()
    return reduced[:, 0] if grey else reduced.transpose(0, 2, 3, 1)


def branch_metrics(
    trained: Trained, data: DiscoveryDataset, batch_size: int
) -> Mapping[str, Mapping[str, float]]:
    """`pair_precision`, `pair_recall` and `oracle_cluster_accuracy` of every peer that has them.

    The oracle is the best, by the truth, which nobody has who discovers, of the joint stage's
    measured epochs (see `evaluation.every`).
    """
    cohort, precision, _, history = trained
    pairs = _pseudo_label_quality(cohort, precision, data, batch_size)
    found = {name: dict(pairs.get(name, {})) for name in cohort.names}
    measured = [
        record["val"] for record in history if record["stage"] == "joint" and "val" in record
    ]
    for name, metrics in found.items():
        values = [m[name]["cluster_accuracy"] for m in measured if "cluster_accuracy" in m[name]]
        if values:
            metrics["oracle_cluster_accuracy"] = max(values)
    return found


def _pseudo_label_quality(
    cohort: Cohort, precision: Precision, data: DiscoveryDataset, batch_size: int
) -> dict[str, dict[str, float]]:
    """`pair_precision` and `pair_recall` of every peer, on unlabelled rows whose truth is known.

    Means over batches of the size of training, drawn once by a fixed key; empty where there is no
    truth, or where no pairs are compared.
    """
    rows = data.unlabelled[data.truth[data.unlabelled] >= 0]
    every = cohort.objectives.items()
    objectives = {name: each for name, each in every if isinstance(each, DiscoveryObjective)}
    if len(rows) < 2 or not objectives:
        return {}
    order = rows[torch.randperm(len(rows), generator=keyed_generator(0, "pairs"))]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in objectives}
    asked = {name: cohort.peers[name] for name in objectives}
    with evaluating(cohort), torch.no_grad():
        for part in (part for part in order.split(batch_size) if len(part) > 1):
            split = data.train.select(part)
            x, _ = next(evaluation_batches(split, len(part), data.mean, data.std))
            with precision.autocast():
                outputs = forward_peers(asked, precision.place(x), cohort.trunk)
            for name, objective in objectives.items():
                same = objective.pseudo_labels(objective.compared(outputs[name])) > 0.5
                found[name].append(clustering.pair_metrics(same.cpu(), data.truth[part]))
    means = {name: mean_metrics(each) for name, each in found.items()}
    told = ("precision", "recall")
    return {name: {f"pair_{key}": mean[key] for key in told} for name, mean in means.items()}
