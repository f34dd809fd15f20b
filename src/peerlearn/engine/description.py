"""What a training is about to do, in words: one account for whoever asks before it begins."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from peerlearn.data.account import counted
from peerlearn.engine.needs import needed
from peerlearn.engine.selection import first_epoch
from peerlearn.engine.settings import EvaluationSpec
from peerlearn.engine.stage import Procedure, Stage, TrainingStage
from peerlearn.models.bayesian import BayesianNetwork

if TYPE_CHECKING:
    from torch import nn

    from peerlearn.engine.trainer import Trainer

Facts = Mapping[str, Sequence[str]]
"""Lines by a word that says what they are about, in the order in which they are told."""

#: Of an edge: the key, how it is called, and the value that goes without saying.
EDGE_WORDS = (
    ("layer", "layer", None),
    ("temperature", "temperature", None),
    ("teacher_temperature", "teacher's", None),
    ("teacher_ema", "teacher's average", None),
    ("teacher_view", "of view", None),
    ("memory", "memory", None),
    ("views", "views", 1),
    ("weight", "weight", None),
    ("weighting", "weighting", "none"),
    ("gate", "gate", "through"),
    ("classes", "classes", "all"),
    ("target", "target", "mean"),
    ("proven", "proven", None),
)
MOST_PAIRS = 6
"""Pairs of peers that are named; the others are counted."""


def described(trainer: "Trainer") -> Facts:
    """Data, peers, edges, device, memory, stages, what selects weights and what reports them."""
    about = dict(trainer.task.facts()) if trainer.task is not None else {}
    facts = about | {
        "peers": [_peer(trainer, name, peer) for name, peer in trainer.cohort.peers.items()],
        "edges": list(edge_lines(trainer.cohort.transfer.edges())),
        "device": [_device(trainer)],
        "memory": needed(trainer).lines,
        "stages": [_stage(trainer, n, stage) for n, stage in enumerate(trainer.stages)],
        "warning": list(_too_short(trainer)),
    }
    if trainer.task is not None:
        rows = trainer.task.rows_words("validation") if trainer.task.validates else ""
        selects = [weights_words(trainer.training.evaluation, rows), *_late(trainer)]
        facts |= {"selects": selects, "reports": [trainer.task.rows_words("report")]}
    return {word: lines for word, lines in facts.items() if lines}


def beginning(trainer: "Trainer") -> dict[str, Any]:
    """What observers are told before a training: its facts, and the batches of every stage."""
    batches = {
        stage.name: 0 if isinstance(stage, Procedure) else stage.epochs * len(stage.loader)
        for stage in trainer.stages
    }
    return {"event": "begin", "facts": described(trainer), "batches": batches}


def weights_words(spec: EvaluationSpec, rows: str = "validation") -> str:
    """Which weights of each peer are reported, in words; `rows` are those that select, if any."""
    if spec.select == "mean_last":
        return f"mean over the last {counted(spec.last_epochs, 'epoch')}"
    if spec.select == "last" or not rows:
        return "weights of the last epoch"
    return f"weights of each peer's epoch of best {spec.metric} on {rows}"


def _late(trainer: "Trainer") -> Iterable[str]:
    """Which epochs do not count, for edges have not their full weight there."""
    if trainer.training.evaluation.select != "best":
        return
    began: dict[tuple[int | None, int], list[str]] = {}
    for number, stage in enumerate(trainer.stages):
        if isinstance(stage, TrainingStage):
            transfer = stage.transfer or trainer.cohort.transfer
            for name in trainer.plan.last_learners(number):
                first = first_epoch(transfer, name, stage.epochs)
                began.setdefault((first, stage.epochs), []).append(name)
    for (first, of), names in began.items():
        who = ", ".join(names)
        if first is None:
            yield f"{who}: the last epoch, for edges never have their full weight"
        elif first > 1:
            which = f"epochs {first} to {of}" if first < of else f"epoch {of}"
            yield f"{who}: {which}, in which edges have their full weight"


def edge_lines(edges: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Edges that teach the same in the same way share a line."""
    alike: dict[str, list[str]] = {}
    for edge in edges:
        kind = [f"{edge['knowledge']} through {edge['divergence']}"]
        for key, words, unsaid in EDGE_WORDS:
            if (value := edge.get(key, unsaid)) != unsaid:
                kind.append(
                    f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"
                )
        alike.setdefault(", ".join(kind), []).append(f"{edge['from']} → {edge['to']}")
    if not alike:
        return ["none: peers learn alone"]
    return [f"{_pairs(pairs)}: {kind}" for kind, pairs in alike.items()]


def steps_of(trainer: "Trainer", stage: TrainingStage) -> int:
    """Steps of the optimiser in an epoch of a stage."""
    return math.ceil(len(stage.loader) / trainer.training.accumulate)


def _too_short(trainer: "Trainer") -> Iterable[str]:
    """Stages whose schedule, which counts epochs, makes hardly any steps of few rows."""
    least = trainer.task.least_steps if trainer.task is not None else 0
    own = getattr(trainer.training, "stages", None)
    for stage in trainer.stages:
        if not isinstance(stage, TrainingStage):
            continue
        each = max(1, steps_of(trainer, stage))
        if each * stage.epochs < least:
            key = f"stages.{stage.name}.epochs" if hasattr(own, stage.name) else "epochs"
            yield (
                f"{stage.name}: {counted(each * stage.epochs, 'step')} per peer are few, training "
                f"has hardly begun; {key}={math.ceil(least / each)} makes at least {least}"
            )


def _pairs(pairs: Sequence[str]) -> str:
    more = len(pairs) - MOST_PAIRS
    return ", ".join(pairs[:MOST_PAIRS]) + (f" and {more} more" if more > 0 else "")


def _peer(trainer: "Trainer", name: str, peer: "nn.Module") -> str:
    settings = trainer.peers.get(name)
    model = getattr(settings, "model", type(peer).__name__)
    count = sum(parameter.numel() for parameter in peer.parameters())
    frozen = ", frozen" if settings is not None and settings.frozen else ""
    drawn = f", {peer.said}" if isinstance(peer, BayesianNetwork) else ""
    return f"{name}: {model}, {count:,} parameters{drawn}{frozen}"


def _device(trainer: "Trainer") -> str:
    words = [str(trainer.device), "bf16" if trainer.precision.bf16 else "fp32"]
    if trainer.device.type == "cpu":
        threads = trainer.training.threads or torch.get_num_threads()
        words.append(counted(threads, "thread"))
    return ", ".join(words)


def _stage(trainer: "Trainer", number: int, stage: Stage) -> str:
    if isinstance(stage, Procedure):
        return f"{stage.name}: no gradient steps"
    each = steps_of(trainer, stage)
    batches = "batch" if each == 1 else "batches"
    words = f"{stage.name}: {counted(each * stage.epochs, 'step')}"
    words += f" ({counted(stage.epochs, 'epoch')} of {each:,} {batches})"
    learners = trainer.plan.learners(number)
    if len(learners) < len(trainer.cohort.peers):
        words += f", in which {' and '.join(learners)} " + ("learn" if learners[1:] else "learns")
    return words + (" (once for all arms)" if stage.shared else "")
