"""How good the peers are, together and beside each other. Metrics never touch what they measure."""

from peerlearn.metrics.classification import (
    classification_metrics,
    ensemble_log_probs,
    ensemble_multilabel_logits,
    multilabel_metrics,
    reliability,
)
from peerlearn.metrics.peers import agreement, between_peers, error_correlation

__all__ = [
    "agreement",
    "between_peers",
    "classification_metrics",
    "ensemble_log_probs",
    "ensemble_multilabel_logits",
    "error_correlation",
    "multilabel_metrics",
    "reliability",
]
