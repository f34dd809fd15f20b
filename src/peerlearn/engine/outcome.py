"""What comes out of a training beside the weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import Rows
from peerlearn.engine.precision import Precision
from peerlearn.metrics.assessment import mean_metrics
from peerlearn.metrics.flatness import flatness


@dataclass
class TrainingResult:
    """What a training gave.

    Attributes:
        block: the arm's entry of `results.json`, with plain numbers instead of seed summaries.
        history: the records of `metrics.jsonl`.
        selected: by peer, the epoch whose weights it now holds and their validation value.
    """

    block: dict[str, Any]
    history: list[dict[str, Any]]
    selected: dict[str, dict[str, Any]]


def mean_over_epochs(tail: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics averaged over the assessments of several epochs."""
    return {
        "peers": {
            name: mean_metrics([block["peers"][name] for block in tail])
            for name in tail[0]["peers"]
        },
        "mean_peer": mean_metrics([block["mean_peer"] for block in tail]),
        "ensemble": mean_metrics([block["ensemble"] for block in tail]),
    }


def flatness_curves(cohort: Cohort, rows: Rows, precision: Precision, seed: int) -> dict[str, Any]:
    """Loss under growing weight noise, by peer, on fixed rows; see `metrics.flatness`."""

    def placed() -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in rows():
            yield precision.place(x), y.to(precision.device)

    curves = {}
    for name, peer in cohort.peers.items():
        model = peer if cohort.trunk is None else nn.Sequential(cohort.trunk, peer)
        curves[name] = flatness(model, placed, partial(cohort.objective, name), seed=seed)
    return {
        "sigma": next(iter(curves.values()))["sigma"],
        "peers": {name: {"mean": c["mean"], "std": c["std"]} for name, c in curves.items()},
    }
