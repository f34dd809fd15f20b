"""What purifying changed, by clean rows that were not learned from and by `suspicion`.

Shape suffixes: N rows, C channels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.data.augment import Normalisation
from peerlearn.data.datasets import Split
from peerlearn.modes import evaluating
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import seeded_rng
from peerlearn.systems.backdoor.suspicion import CANNOT_SEE, Suspicion, suspicion
from peerlearn.transfer.outputs import as_peer_output

BATCH = 256


@dataclass(frozen=True)
class Judge:
    """Clean rows, and how networks read them.

    Attributes:
        learned: those that the purified network has learned from; the check for classes that are
            easily reached uses them too.
        held_out: further ones, on which accuracy is measured.
        class_names: one a class.
        normalisation: makes of rows what the networks read.
        seed: key of all that is random.
    """

    learned: Split
    held_out: Split
    class_names: tuple[str, ...]
    normalisation: Normalisation
    seed: int = 0

    def said(self, network: nn.Module) -> Tensor:
        """The classes that a network tells of the rows held out, int64 (N,), in fp32."""
        device, x_NCHW = next(network.parameters()).device, self.held_out.x
        # Keyed, for a network may draw in evaluation too.
        with evaluating(network), torch.no_grad(), seeded_rng(self.seed, "evidence"):
            parts = [
                as_peer_output(network(self.normalisation.apply(each.to(device))), "to judge")
                for each in x_NCHW.split(BATCH)
            ]
        return torch.cat([part.logits.argmax(1) for part in parts]).cpu()

    def suspicion(self, network: nn.Module) -> Suspicion:
        """How easily its classes are reached."""
        x_NCHW = torch.cat([self.learned.x, self.held_out.x])
        y_N = torch.cat([self.learned.y, self.held_out.y])
        classes = len(self.class_names)
        return suspicion(network, x_NCHW, y_N, classes, self.normalisation, seed=self.seed)


def evidence(before: nn.Module, after: nn.Module, judge: Judge) -> dict[str, Any]:
    """Two networks beside each other, as plain values that are equal for equal networks."""
    names, held = judge.class_names, judge.held_out
    networks = {"before": before, "after": after}
    said = {side: judge.said(network) for side, network in networks.items()}
    return {
        "clean_rows": {
            "learned_from": _counts(judge.learned.y, names),
            "held_out": _counts(held.y, names),
        },
        "accuracy": {side: _accuracy(each, held.y, names) for side, each in said.items()},
        "predictions": {
            "rows": len(held),
            "changed": int((said["before"] != said["after"]).sum()),
        },
        "suspicion": {
            side: _found(judge.suspicion(network), names) for side, network in networks.items()
        },
        "cannot_see": CANNOT_SEE,
    }


def _accuracy(said_N: Tensor, y_N: Tensor, names: tuple[str, ...]) -> dict[str, Any]:
    """Of all rows, and of those of every class; None where a class has none."""
    hits_N = said_N == y_N
    rows = {name: y_N == number for number, name in enumerate(names)}
    by_class = {name: _mean(hits_N[each]) for name, each in rows.items()}
    return {"all": _mean(hits_N), "by_class": by_class}


def _mean(hits: Tensor) -> float | None:
    return float(hits.double().mean()) if len(hits) else None


def _counts(y_N: Tensor, names: tuple[str, ...]) -> dict[str, Any]:
    counts = torch.bincount(y_N[labelled_rows(y_N)], minlength=len(names)).tolist()
    return {"rows": len(y_N), "by_class": dict(zip(names, counts, strict=True))}


def _found(it: Suspicion, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "suspect": None if it.suspect is None else names[it.suspect],
        "words": it.words(names),
        "index": it.index,
        "alarm_from": it.threshold,
        "areas": dict(zip(names, it.areas, strict=True)),
        "reached": dict(zip(names, it.shares, strict=True)),
        "rows": dict(zip(names, it.rows, strict=True)),
    }
