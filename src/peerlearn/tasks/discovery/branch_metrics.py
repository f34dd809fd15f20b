"""What is measured of branches beside their clusters."""

from collections.abc import Mapping

import torch

from peerlearn.cohort import Cohort, forward_peers
from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.precision import Precision
from peerlearn.engine.task import Trained
from peerlearn.metrics.assessment import mean_metrics
from peerlearn.modes import evaluating
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.discovery.data import DiscoveryDataset
from peerlearn.tasks.discovery.metrics.clustering import pair_metrics
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective

ORACLE = "oracle_cluster_accuracy"
"""Of the measured epoch with the best accuracy by the truth, which nobody has who discovers."""


def branch_metrics(
    trained: Trained, data: DiscoveryDataset, batch_size: int
) -> Mapping[str, Mapping[str, float]]:
    """`pair_precision`, `pair_recall` and `oracle_cluster_accuracy` of every peer that has them.

    The oracle is the best of the joint stage's measured epochs (see `evaluation.every`).
    """
    cohort, precision, _, history = trained
    pairs = pseudo_label_quality(cohort, precision, data, batch_size)
    measured = [
        record["val"] for record in history if record["stage"] == "joint" and "val" in record
    ]
    found = {name: dict(pairs.get(name, {})) for name in cohort.names}
    for name, metrics in found.items():
        values = [m[name]["cluster_accuracy"] for m in measured if "cluster_accuracy" in m[name]]
        if values:
            metrics[ORACLE] = max(values)
    return found


def pseudo_label_quality(
    cohort: Cohort, precision: Precision, data: DiscoveryDataset, batch_size: int
) -> Mapping[str, Mapping[str, float]]:
    """`pair_precision` and `pair_recall` of every peer, on unlabelled rows whose truth is known.

    Means over batches of the size of training, drawn once by a fixed key; empty where there is no
    truth, or where no pairs are compared.
    """
    rows = data.unlabelled[data.truth[data.unlabelled] >= 0]
    objectives = {
        name: each
        for name, each in cohort.objectives.items()
        if isinstance(each, DiscoveryObjective)
    }
    if len(rows) < 2 or not objectives:
        return {}
    order = rows[torch.randperm(len(rows), generator=keyed_generator(0, "pairs"))]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in objectives}
    asked = {name: cohort.peers[name] for name in objectives}
    with evaluating(cohort), torch.no_grad():
        for part in (part for part in order.split(batch_size) if len(part) > 1):
            split = data.train.select(part)
            x, _ = next(iter(evaluation_batches(split, len(part), data.mean, data.std)))
            with precision.autocast():
                outputs = forward_peers(asked, precision.place(x), cohort.trunk)
            for name, objective in objectives.items():
                same = objective.pseudo_labels(objective.compared(outputs[name])) > 0.5
                found[name].append(pair_metrics(same.cpu(), data.truth[part]))
    return {
        name: {
            f"pair_{key}": value for key, value in mean_metrics(each).items() if key != "accuracy"
        }
        for name, each in found.items()
    }
