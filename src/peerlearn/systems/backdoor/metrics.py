"""Whether a backdoor is still there, and what it cost to remove it.

Of test rows whose class is not the one aimed at, with the trigger: ASR is the share that is taken
for the aimed class, RA the share that is taken for its own, so that ASR + RA ≤ 1. Defence
effectiveness (DER) is in [0, 1], ½ for no change:

    DER = (max(0, ASR before − ASR) − max(0, ACC before − ACC) + 1) / 2
    RIR = (max(0, RA − RA before)   − max(0, ACC before − ACC) + 1) / 2

as defined by Zhu et al., "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware
Minimization", ICCV 2023. Loss of accuracy counts against both.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from peerlearn.engine.task import Block
from peerlearn.metrics.assessment import mean_metrics
from peerlearn.metrics.catalogue import CLASSIFICATION, Metric, fraction
from peerlearn.metrics.classification import ensemble_log_probs

BACKDOOR: tuple[Metric, ...] = (
    fraction("der", "DER", headline=True, brief=4),
    fraction("acc", "ACC", brief=1),
    fraction("asr", "ASR", better="lower", brief=2),
    fraction("ra", "RA", brief=3),
    fraction("rir", "RIR"),
    fraction("pruned", "channels pruned", better=None, compared=False),
    *CLASSIFICATION,
)
"""What is measured of victims and of what defences make of them."""


def der(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Defence effectiveness rate of two measurements of `acc` and `asr`."""
    return (max(0.0, before["asr"] - after["asr"]) - _lost(before, after) + 1) / 2


def rir(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Robustness improvement rate of two measurements of `acc` and `ra`."""
    return (max(0.0, after["ra"] - before["ra"]) - _lost(before, after) + 1) / 2


def _lost(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    return max(0.0, before["acc"] - after["acc"])


def with_triggered(
    block: Block,
    batches: Iterable[tuple[Mapping[str, Tensor], Tensor]],
    aims: Tensor,
    victim: str,
    members: Collection[str] | None,
) -> Block:
    """A report with `acc`, `asr`, `ra`, `der` and `rir` of every peer, their mean and the ensemble.

    Args:
        block: of clean rows.
        batches: logits of triggered rows and their true labels.
        aims: int64 (N,), the class aimed at of each.
        victim: the peer that everything is compared with.
        members: peers that make the mean and the ensemble; None for all.
    """
    said = _predictions(batches, members)
    y = said.pop("")
    peers: dict[str, Any] = block["peers"]
    for who, found in said.items():
        of = block["ensemble"] if who == "ensemble" else peers[who]
        of["acc"] = of["accuracy"]
        of["asr"] = (found == aims).double().mean().item()
        of["ra"] = (found == y).double().mean().item()
    before = dict(peers[victim])
    for of in (*peers.values(), block["ensemble"]):
        of |= {"der": der(before, of), "rir": rir(before, of)}
    chosen = [of for who, of in peers.items() if members is None or who in members]
    return block | {"mean_peer": mean_metrics(chosen)}


def _predictions(
    batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], members: Collection[str] | None
) -> dict[str, Tensor]:
    """The classes that everyone and the ensemble say; the true ones under the empty name."""
    parts: dict[str, list[Tensor]] = {}
    for logits, y in batches:
        chosen = [z for name, z in logits.items() if members is None or name in members]
        ensemble = ensemble_log_probs([z.double().log_softmax(1) for z in chosen])
        for who, z in {**logits, "ensemble": ensemble}.items():
            parts.setdefault(who, []).append(z.argmax(1))
        parts.setdefault("", []).append(y)
    return {who: torch.cat(each) for who, each in parts.items()}
