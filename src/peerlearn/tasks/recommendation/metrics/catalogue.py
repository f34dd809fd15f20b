"""What rankings are measured by. `recall@20:cold5` is that of a group of users."""

from peerlearn.metrics.catalogue import Metric, fraction
from peerlearn.tasks.recommendation.metrics.ranking import CUTOFFS

MAIN = ("recall@20", "ndcg@20", "recall@50", "ndcg@50")
"""Those of the short tables, which are compared and measured of groups of users too."""

_LABELS = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision": "precision",
    "hit": "hit rate",
    "mrr": "MRR",
}


def _accuracy(name: str) -> Metric:
    """Of finding what is wanted."""
    kind, _, k = name.partition("@")
    return fraction(
        name,
        f"{_LABELS[kind]}@{k}",
        decimals=2,
        headline=name == "recall@20",
        selects=name in MAIN[:2],
        brief=MAIN.index(name) if name in MAIN else None,
        compared=name in MAIN,
    )


METRICS = (
    *map(_accuracy, MAIN),
    *(
        _accuracy(name)
        for kind in _LABELS
        for name in (f"{kind}@{k}" for k in CUTOFFS)
        if name not in MAIN
    ),
    *(fraction(f"coverage@{k}", compared=False) for k in CUTOFFS),
    *(Metric(f"diversity@{k}", better="higher", compared=False) for k in CUTOFFS),
    *(Metric(f"popularity@{k}", f"popularity@{k} above train", compared=False) for k in CUTOFFS),
)
"""Of rankings; see `list_metrics` and `ItemFacts`."""
