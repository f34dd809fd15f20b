"""The images of every cluster that branches are surest of, to be looked at.

Shape suffixes: K clusters, B images of a cluster, H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.report.pictures import visible
from peerlearn.tasks.discovery.clusters import found_clusters
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data import DiscoveryDataset, DiscoveryInfo

IMAGES = 12
LONGEST_SIDE = 48


def contact_sheets(
    logits: Mapping[str, Tensor],
    members: Sequence[str],
    data: DiscoveryDataset,
    info: DiscoveryInfo,
    config: DiscoveryConfig,
    images: int = IMAGES,
) -> dict[str, NDArray[Any]]:
    """The unlabelled images of which the ensemble is surest, of every cluster that has any.

    Args:
        logits: of all branches for the unlabelled rows, as `unlabelled_logits` gives them.
        members: branches that make the ensemble.
        data: images.
        info: of the trained branches.
        config: of the run.
        images: how many of each cluster, where there are so many.

    Returns:
        `clusters` (K,), the names of those that have an image; `sizes` (K,); `images` uint8
        (K, B, H, W) or (K, B, H, W, 3), the surest first; `confidence` float32 (K, B), NaN where
        a cluster has fewer than B images; and, where the truth of its images is known, `classes`
        (K,), the name of the one that most of them are of, else "", and `shares` (K,) of that class
        among them, else NaN. Large images are made smaller.
    """
    number, confidence = found_clusters(logits, info, config, members)
    truth = data.truth[data.unlabelled]
    shown, sure, rows_of = [], [], {}
    for cluster in number[number >= 0].unique().tolist():
        rows_of[cluster] = rows = (number == cluster).nonzero()[:, 0]
        best = rows[confidence[rows].argsort(descending=True, stable=True)][:images]
        pictures = small(visible(data.train.rows(data.unlabelled[best])))
        blank = images - len(best)
        shown.append(np.pad(pictures, [(0, blank)] + [(0, 0)] * (pictures.ndim - 1)))
        sure.append(F.pad(confidence[best].float(), (0, blank), value=torch.nan).numpy())
    common = [most_common(truth[rows]) for rows in rows_of.values()]
    return {
        "clusters": np.array([info.class_names[cluster] for cluster in rows_of]),
        "sizes": np.array([len(rows) for rows in rows_of.values()]),
        "images": np.stack(shown),
        "confidence": np.stack(sure),
        "classes": np.array([data.class_names[c] if c >= 0 else "" for c, _ in common]),
        "shares": np.array([share for _, share in common], np.float32),
    }


def most_common(truth: Tensor) -> tuple[int, float]:
    """The most common class and its share of the rows with a class; (−1, NaN) where none has."""
    known = truth[truth >= 0]
    if not len(known):
        return -1, float("nan")
    counts = known.bincount()
    return int(counts.argmax()), counts.max().item() / len(known)


def small(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
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
