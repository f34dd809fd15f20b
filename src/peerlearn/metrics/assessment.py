"""Everything that is measured on one set of outputs: peers, their mean, their ensemble, pairs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from peerlearn.metrics.classification import (
    classification_metrics,
    ensemble_log_probs,
    ensemble_multilabel_logits,
    multilabel_metrics,
    reliability,
)
from peerlearn.metrics.peers import between_peers
from peerlearn.objectives.labels import labelled_rows

#: From logits by peer and targets to nested plain numbers.
Assess = Callable[[Mapping[str, Tensor], Tensor], dict[str, Any]]


def assess_classification(logits: Mapping[str, Tensor], y: Tensor) -> dict[str, Any]:
    """Metrics of a cohort of classifiers on the rows that have a label.

    Shapes:
        logits: by peer (N, C), fp32.
        y: (N,) classes, −1 where unlabelled; or (N, C) of 0/1 for multi-label.

    Returns:
        `peers` (metrics by peer), `mean_peer` (their mean), `ensemble` (of the mean
        probability), `between_peers` and `reliability` (by peer and for the ensemble).
    """
    labelled = labelled_rows(y)
    if not labelled.all():
        logits, y = {name: z[labelled] for name, z in logits.items()}, y[labelled]
    measure: Callable[[Tensor, Tensor], dict[str, float]]
    if y.ndim == 2:
        outputs = dict(logits)
        measure, together = multilabel_metrics, ensemble_multilabel_logits(list(outputs.values()))
    else:
        outputs = {name: torch.log_softmax(z.double(), dim=-1) for name, z in logits.items()}
        measure, together = classification_metrics, ensemble_log_probs(list(outputs.values()))
    peers = {name: measure(output, y) for name, output in outputs.items()}
    return {
        "peers": peers,
        "mean_peer": mean_metrics(list(peers.values())),
        "ensemble": measure(together, y),
        "between_peers": between_peers(outputs, y),
        "reliability": {
            name: reliability(output, y)
            for name, output in (outputs | {"ensemble": together}).items()
        },
    }


def mean_metrics(several: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every metric over `several` sets of metrics."""
    return {name: sum(m[name] for m in several) / len(several) for name in several[0]}
