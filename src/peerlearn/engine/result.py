"""What comes out of a training beside the weights."""

import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.info import DataInfo
from peerlearn.engine.checkpoint import Progress
from peerlearn.engine.evaluate import ROW_SCORES, sound
from peerlearn.engine.posteriors import last_posteriors
from peerlearn.engine.probes import (
    corrupted_means,
    corruption_curves,
    flatness_curves,
    noise_curves,
    peer_sizes,
)
from peerlearn.engine.proving import share_of_validations
from peerlearn.engine.settings import EvaluationSpec
from peerlearn.engine.task import Evaluator, Findings, Trained
from peerlearn.metrics.assessment import RowTensors, mean_metrics

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
        row_scores: what every row of the report scored; see `peerlearn.row_scores`.
    """

    block: dict[str, Any]
    history: list[dict[str, Any]]
    selected: dict[str, dict[str, Any]]
    info: DataInfo | None = None
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    row_scores: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)

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
    calibration: Mapping[str, Mapping[str, float]],
) -> TrainingResult:
    """What a training gave; without a task only its cost is measured.

    Args:
        forwards: training forwards of all peers in all processes.
        selected: by peer, what is known of its weights.
        seed: of what is drawn while measuring.
        calibration: see `calibrate`; empty where nobody was calibrated.
    """
    cohort, precision, forward, _ = trained
    block: dict[str, Any] = {}
    findings, example = Findings(), None
    rows: RowTensors = {}
    if task is not None:
        block |= sound(partial(task.evaluate, purpose="report"), forward, task.metrics)
        if progress.tail:
            block |= mean_over_epochs(progress.tail)
        rows = block.pop(ROW_SCORES, {})
        findings, example = task.finish(trained), task.example()
        for name, found in findings.metrics.items():
            block["peers"][name] |= found
        if spec.flatness and (probe := task.probe()) is not None:
            measured = block.get("peers", cohort.peers)
            block["flatness"] = flatness_curves(cohort, probe, precision, seed, list(measured))
        if spec.noise and block:
            block["noise"] = noise_curves(task, forward, spec.noise, seed)
        if spec.corruption and block:
            block["corruption"] = corruption_curves(task, forward, spec.corruption, seed)
            together = {who: block[who] for who in ("mean_peer", "ensemble")}
            for who, metrics in (block["peers"] | together).items():
                metrics |= corrupted_means(block["corruption"], who)
    if block.get("peers"):
        here = [name for name in cohort.peers if name in block["peers"]]
        block["members"] = spec.members or here
        if task is not None and task.chooses:
            block |= validated(spec.metric, selected, progress.history, here)
    if calibration:
        block["calibration"] = calibration
    if epochs := epochs_of(selected):
        block["epochs"] = epochs
    block["edges"] = list(cohort.transfer.edges())
    block |= share_of_validations(progress.history) | last_posteriors(progress.history)
    block["cost"] = {
        "train_s": progress.seconds,
        "forwards_per_step": forwards / max(progress.steps, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    block |= findings.further
    block["sizes"] = peer_sizes(cohort, example, precision)
    scores = {who: {name: z.numpy() for name, z in of.items()} for who, of in rows.items()}
    return TrainingResult(
        block, progress.history, selected, findings.info, findings.pictures, scores
    )


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


def of_an_epoch(block: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an assessment for `mean_over_epochs`.

    Of rows only what they add to metrics: the mean of a confidence would mean nothing.
    """
    measured = block["peers"] | {"ensemble": block["ensemble"]}
    rows = {
        who: {name: score for name, score in scores.items() if name in measured[who]}
        for who, scores in block.get(ROW_SCORES, {}).items()
    }
    return block | {ROW_SCORES: rows}


def epochs_of(selected: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By peer the epoch that was `selected`, `of` how many, and the first that counts (`from`).

    Without the latter none does, and it is the last one.
    """
    return {
        peer: {"selected": known["epoch"], "of": known["of"]}
        | ({"from": known["from"]} if known.get("from") is not None else {})
        for peer, known in selected.items()
        if "of" in known  # older versions did not say
    }


def mean_over_epochs(tail: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics averaged over the assessments of several epochs.

    And of every row what it added to them in the mean; an epoch that was measured by a version that
    did not keep it leaves nobody's.
    """
    several = [block["peers"] for block in tail]
    rows = {}
    if all(block.get(ROW_SCORES) for block in tail):
        for who, scores in tail[0][ROW_SCORES].items():
            of_epochs = [block[ROW_SCORES][who] for block in tail]
            rows[who] = {name: _mean(name, of_epochs) for name in scores}
    return {
        ROW_SCORES: rows,
        "peers": {name: mean_metrics([peers[name] for peers in several]) for name in several[0]},
        "mean_peer": mean_metrics([block["mean_peer"] for block in tail]),
        "ensemble": mean_metrics([block["ensemble"] for block in tail]),
    }


def _mean(name: str, of_epochs: Sequence[Mapping[str, Tensor]]) -> Tensor:
    return torch.stack([scores[name].double() for scores in of_epochs]).mean(0).float()
