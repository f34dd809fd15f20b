"""What all-to-all edges cost by themselves: losses of eight peers over many classes.

The other side is the definition, written by hand: one divergence for each ordered pair.
"""

import multiprocessing
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.graph.memory import peak_gb
from benchmarks.speed.digits import divergence
from benchmarks.speed.timing import interleave, row, summary
from peerlearn.cohort import Cohort
from peerlearn.transfer.outputs import PeerOutput

PEERS = 8
CLASSES = {1_000: 1, 30_000: 4}
"""Of how many classes, and of how many rounds one is measured."""

OURS, PAIRS, ALONE = "losses of the cohort", "every pair by hand", "cross-entropy alone"


def exchange(rounds: int, rows: int, most: int) -> list[dict[str, Any]]:
    """Losses of eight peers with up to so many classes and their gradients, from given logits."""
    return [
        line
        for classes, of in CLASSES.items()
        if classes <= most
        for line in _measured(max(rounds // of, 1), rows, classes)
    ]


def _measured(rounds: int, rows: int, classes: int) -> list[dict[str, Any]]:
    given = Given.of(rows, classes)
    samples = interleave({side: partial(given.once, side) for side in SIDES}, rounds)
    works = summary(samples)
    for side in SIDES:
        works[side]["peak_mb"] = _in_a_process(side, rows, classes)
    name = f"losses of K = {PEERS}, {rows} rows, {classes:,} classes"
    line = row(f"{name}: every pair over the cohort's", samples, PAIRS, OURS)
    over = row(f"{name}: the cohort's over cross-entropy alone", samples, OURS, ALONE)
    return [line | {"works": works}, over]


class Given(NamedTuple):
    """What both sides are given."""

    logits: list[Tensor]
    y: Tensor
    cohort: Cohort

    @classmethod
    def of(cls, rows: int, classes: int) -> "Given":
        """Logits without meaning."""
        generator = torch.Generator().manual_seed(0)
        logits = [
            torch.randn(rows, classes, generator=generator).requires_grad_() for _ in range(PEERS)
        ]
        y = torch.randint(classes, (rows,), generator=generator)
        cohort = Cohort({f"peer{n}": nn.Flatten() for n in range(PEERS)}, "predictions: kl")
        return cls(logits, y, cohort)

    def once(self, side: str) -> None:
        """Losses and gradients."""
        for each in self.logits:
            each.grad = None
        torch.stack(SIDES[side](self)).sum().backward()


def _in_a_process(side: str, rows: int, classes: int) -> float:
    """Peak memory of one side beyond the logits, in MB, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_mb, (side, rows, classes))


def _peak_mb(side: str, rows: int, classes: int) -> float:
    torch.set_num_threads(1)
    Given.of(4, 10).once(side)  # what the first call of anything loads
    given = Given.of(rows, classes)
    before = peak_gb()
    given.once(side)
    return 1e3 * (peak_gb() - before)


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


SIDES = {
    OURS: lambda given: of_cohort(given.cohort, given.logits, given.y),
    PAIRS: lambda given: by_pairs(given.logits, given.y),
    ALONE: lambda given: [F.cross_entropy(each, given.y) for each in given.logits],
}
