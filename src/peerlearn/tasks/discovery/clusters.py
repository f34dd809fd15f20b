"""The clusters of unlabelled rows, as all branches together see them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import Forward, Rows
from peerlearn.tasks.discovery.config import DiscoveryConfig
from peerlearn.tasks.discovery.data import DiscoveryInfo
from peerlearn.tasks.discovery.metrics.cluster_ensemble import (
    Clusters,
    cluster_orders,
    decided,
    in_order,
)


def classes_compete(config: DiscoveryConfig, info: DiscoveryInfo) -> bool:
    """Whether known and new classes are told apart by one decision."""
    return config.incremental or info.generalised


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
    """`info` with the order of clusters of every branch, from what it says of unlabelled rows.

    Args:
        info: of the data.
        logits: as `unlabelled_logits` gives them.
        members: branches that make the ensemble; the first one's order is everybody's.
    """
    # Branches outside of the ensemble come after it, in order of the same first member.
    names = [*members, *(name for name in logits if name not in members)]
    orders = cluster_orders([logits[name] for name in names], info.known)
    return info.model_copy(
        update={"orders": {n: tuple(o.tolist()) for n, o in zip(names, orders, strict=True)}}
    )


def found_clusters(
    logits: Mapping[str, Tensor],
    info: DiscoveryInfo,
    config: DiscoveryConfig,
    who: Sequence[str],
) -> Clusters:
    """Which class, in `info.class_names`, some branches together give every row.

    Args:
        logits: by name.
        info: of the trained branches.
        config: of the run.
        who: names of the branches that decide.

    Shapes:
        logits: (N, classes) each.
    """
    start = 0 if classes_compete(config, info) else info.known
    members = [
        in_order(logits[name].double(), torch.tensor(info.orders[name]), info.known) for name in who
    ]
    number, confidence = decided(members, slice(start, None))
    return Clusters(torch.where(number >= 0, number + start, -1), confidence)


def members_of(cohort: Cohort, config: DiscoveryConfig) -> list[str]:
    """Branches that make the ensemble, in the cohort's order."""
    chosen = config.evaluation.members
    return [name for name in cohort.names if chosen is None or name in chosen]


def unlabelled_logits(forward: Forward, rows: Rows) -> dict[str, Tensor]:
    """What every branch says of the unlabelled training rows.

    Shapes:
        result: float64 (N, known + new) each, on the CPU.
    """
    parts: dict[str, list[Tensor]] = {}
    for logits, _ in forward(rows):
        for name, z in logits.items():
            parts.setdefault(name, []).append(z.double())
    return {name: torch.cat(each) for name, each in parts.items()}
