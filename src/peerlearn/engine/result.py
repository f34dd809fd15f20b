"""What comes out of a training beside the weights."""

import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from peerlearn.data.info import DataInfo
from peerlearn.engine.checkpoint import Progress
from peerlearn.engine.evaluate import sound
from peerlearn.engine.probes import flatness_curves, noise_curves, peer_sizes
from peerlearn.engine.proving import share_of_validations
from peerlearn.engine.settings import EvaluationSpec
from peerlearn.engine.task import Evaluator, Findings, Trained
from peerlearn.metrics.assessment import mean_metrics

COLUMNS = 5
"""Metrics in the short table of a result."""


@dataclass(repr=False)
class TrainingResult:
    """What a training gave.

    Attributes:
        block: the arm's entry of `results.json`, with plain numbers instead of seed summaries.
        history: the records of `metrics.jsonl`.
        selected: by peer, the epoch whose weights it now holds and their validation value.
        info: what the networks must know of their data to be used without them.
        pictures: arrays to be looked at.
    """

    block: dict[str, Any]
    history: list[dict[str, Any]]
    selected: dict[str, dict[str, Any]]
    info: DataInfo | None = None
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """A short table; the numbers themselves are in `block`."""
        return "\n".join([f"TrainingResult: {len(self.history)} epochs", *self._lines()])

    def _lines(self) -> Iterator[str]:
        if "mean_peer" not in self.block:
            return
        together = {"mean peer": self.block["mean_peer"], "ensemble": self.block["ensemble"]}
        everyone = self.block["peers"] | together
        names = [name for name in self.block["mean_peer"] if ":" not in name][:COLUMNS]
        width = max(map(len, everyone))
        yield "  ".join([" " * (width + 1), *(f"{name:>8}" for name in names), "epoch"])
        for who, found in everyone.items():
            values = (f"{found[n]:>{max(8, len(n))}.4f}" if n in found else "–" for n in names)
            epoch = str(self.selected.get(who, {}).get("epoch", "")).rjust(5)
            yield "  ".join([f" {who:<{width}}", *values, epoch]).rstrip()


def training_result(
    trained: Trained,
    task: Evaluator | None,
    spec: EvaluationSpec,
    progress: Progress,
    forwards: int,
    selected: dict[str, dict[str, Any]],
    seed: int,
) -> TrainingResult:
    """What a training gave; without a task only its cost is measured.

    Args:
        forwards: training forwards of all peers in all processes.
        selected: by peer, what is known of its weights.
        seed: of what is drawn while measuring.
    """
    cohort, precision, forward, _ = trained
    block: dict[str, Any] = {}
    findings, example = Findings(), None
    if task is not None:
        block |= sound(partial(task.evaluate, purpose="report"), forward, task.metrics)
        if progress.tail:
            block |= mean_over_epochs(progress.tail)
        findings, example = task.finish(trained), task.example()
        for name, found in findings.metrics.items():
            block["peers"][name] |= found
        if spec.flatness and (probe := task.probe()) is not None:
            block["flatness"] = flatness_curves(cohort, probe, precision, seed)
        if spec.noise and block:
            block["noise"] = noise_curves(task, forward, spec.noise, seed)
    if block.get("peers"):
        block["members"] = spec.members or list(cohort.peers)
        if task is not None and task.chooses:
            block |= validated(spec.metric, selected, progress.history, list(cohort.peers))
    block["edges"] = list(cohort.transfer.edges())
    block |= share_of_validations(progress.history)
    block["cost"] = {
        "train_s": progress.seconds,
        "forwards_per_step": forwards / max(progress.steps, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    block |= findings.further
    block["sizes"] = peer_sizes(cohort, example, precision)
    return TrainingResult(block, progress.history, selected, findings.info, findings.pictures)


def validated(
    metric: str,
    selected: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    peers: Sequence[str],
) -> dict[str, Any]:
    """`validation`: by peer, the metric on validation of the weights that it now holds.

    That of the epoch that was selected, else of the last one; empty where one is not known.
    """
    last: Mapping[str, Any] = history[-1].get("val", {}) if history else {}
    known = {
        n: selected[n]["value"] if n in selected else last.get(n, {}).get(metric) for n in peers
    }
    if any(value is None for value in known.values()):
        return {}
    return {"validation": {name: {metric: value} for name, value in known.items()}}


def mean_over_epochs(tail: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics averaged over the assessments of several epochs."""
    several = [block["peers"] for block in tail]
    return {
        "peers": {name: mean_metrics([peers[name] for peers in several]) for name in several[0]},
        "mean_peer": mean_metrics([block["mean_peer"] for block in tail]),
        "ensemble": mean_metrics([block["ensemble"] for block in tail]),
    }
