"""How well peers tell rows of other data sets from those of the run, by how unsure they are."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.engine.evaluate import ROW_SCORES
from peerlearn.engine.task import Block
from peerlearn.metrics.assessment import epistemic, mean_metrics
from peerlearn.metrics.uncertainty import SCORES, TOLD_APART, bin_edges, entropy, histogram

Scores = Mapping[str, Mapping[str, NDArray[Any]]]
"""Who → `entropy`, `mutual_information` → (rows,)."""


def outside_name(name: str) -> str:
    """What a task calls the set of rows."""
    return f"out of distribution: {name}"


def told_apart(
    block: Block,
    sets: Mapping[str, Iterable[tuple[Mapping[str, Tensor], Any]]],
    classes: int,
    members: Collection[str] | None,
) -> Block:
    """A report with `auroc:NAME` and the like of every set of rows, and the entry `ood`.

    Args:
        block: of the rows that are reported on, with their `row_scores`.
        sets: batches of outputs by name.
        classes: of the run.
        members: peers that make the ensemble; None for all.

    Returns:
        The block. Its peers, mean peer and ensemble have the metrics by `entropy`, and, where there
        are samples, by `mutual_information` (`auroc_mi:NAME`). `ood` has `rows` by set, and
        `scores`: for each of the two the `edges` of a histogram, and by who its shares of rows `in`
        and `out` of distribution, these by set.
    """
    inside = {
        who: {name: found[name].numpy() for name in SCORES if name in found}
        for who, found in block[ROW_SCORES].items()
    }
    outside = {name: _scores(batches, inside, members) for name, batches in sets.items()}
    for name, scores in outside.items():
        for who, found in inside.items():
            of = block["ensemble"] if who == "ensemble" else block["peers"][who]
            of |= _measured(found, scores[who], name)
    chosen = [found for who, found in block["peers"].items() if members is None or who in members]
    histograms = _histograms(inside, outside, bin_edges(classes))
    rows = {name: len(scores["ensemble"]["entropy"]) for name, scores in outside.items()}
    ood = {"rows": rows, "scores": histograms}
    return block | {"mean_peer": mean_metrics(chosen), "ood": ood}


def _scores(
    batches: Iterable[tuple[Mapping[str, Tensor], Any]],
    like: Scores,
    members: Collection[str] | None,
) -> Scores:
    parts: dict[str, dict[str, list[Tensor]]] = {}
    for logits, _ in batches:
        p = {name: z.double().softmax(1) for name, z in logits.items()}
        chosen = [each for name, each in p.items() if members is None or name in members]
        p["ensemble"] = torch.stack(chosen).mean(0)
        known = {"entropy": {who: entropy(each) for who, each in p.items()}}
        known["mutual_information"] = epistemic(logits, members)
        for who, found in like.items():
            for name in found:
                parts.setdefault(who, {}).setdefault(name, []).append(known[name][who])
    # In the precision of those that they are compared with, so that what is equal stays so.
    return {
        who: {name: torch.cat(each).float().numpy() for name, each in found.items()}
        for who, found in parts.items()
    }


def _measured(
    inside: Mapping[str, NDArray[Any]], outside: Mapping[str, NDArray[Any]], of: str
) -> dict[str, float]:
    return {
        f"{name}{SCORES[score]}:{of}": measure(inside[score], outside[score])
        for score in inside
        for name, measure in TOLD_APART.items()
    }


def _histograms(
    inside: Scores, outside: Mapping[str, Scores], edges: list[float]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for who, scores in inside.items():
        for score, values in scores.items():
            of = found.setdefault(score, {"edges": edges, "of": {}})["of"]
            others = {name: histogram(each[who][score], edges) for name, each in outside.items()}
            of[who] = {"in": histogram(np.asarray(values), edges), "out": others}
    return found
