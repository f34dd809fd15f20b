"""What all-to-all edges cost by themselves: losses of eight peers over many classes.

The other side is the definition, written by hand: one divergence for each ordered pair.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.digits import divergence
from benchmarks.speed.timing import Work, interleave, row, summary
from peerlearn.cohort import Cohort
from peerlearn.transfer.outputs import PeerOutput

PEERS, CLASSES = 8, 1000
OURS, PAIRS, ALONE = "losses of the cohort", "every pair by hand", "cross-entropy alone"


def exchange(rounds: int, rows: int) -> list[dict[str, Any]]:
    """Losses of eight peers with 1,000 classes and their gradients, from given logits."""
    generator = torch.Generator().manual_seed(0)
    logits = [
        torch.randn(rows, CLASSES, generator=generator).requires_grad_() for _ in range(PEERS)
    ]
    y = torch.randint(CLASSES, (rows,), generator=generator)
    cohort = Cohort({f"peer{n}": nn.Flatten() for n in range(PEERS)}, "predictions: kl")
    works: dict[str, Work] = {
        OURS: lambda: _backward(logits, of_cohort(cohort, logits, y)),
        PAIRS: lambda: _backward(logits, by_pairs(logits, y)),
        ALONE: lambda: _backward(logits, [F.cross_entropy(each, y) for each in logits]),
    }
    samples = interleave(works, rounds)
    name = f"losses of K = {PEERS}, {rows} rows, {CLASSES:,} classes"
    line = row(f"{name}: every pair over the cohort's", samples, PAIRS, OURS)
    over = row(f"{name}: the cohort's over cross-entropy alone", samples, OURS, ALONE)
    return [line | {"works": summary(samples)}, over]


def of_cohort(cohort: Cohort, logits: list[Tensor], y: Tensor) -> list[Tensor]:
    """As the engine has them."""
    outputs = {name: PeerOutput(each) for name, each in zip(cohort.names, logits, strict=True)}
    return [loss.total for loss in cohort.losses(outputs, y).values()]


def by_pairs(logits: list[Tensor], y: Tensor) -> list[Tensor]:
    """Cross-entropy, and the mean divergence from every other peer."""
    logs = [F.log_softmax(each, 1) for each in logits]
    return [
        F.cross_entropy(logits[learner], y)
        + torch.stack(
            [divergence(own, taught) for teacher, taught in enumerate(logs) if teacher != learner]
        ).mean()
        for learner, own in enumerate(logs)
    ]


def _backward(logits: list[Tensor], losses: list[Tensor]) -> None:
    for each in logits:
        each.grad = None
    torch.stack(losses).sum().backward()
