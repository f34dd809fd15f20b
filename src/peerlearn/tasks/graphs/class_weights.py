"""The weights of classes that edges have learned, once training is done."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from peerlearn.cohort import Cohort
from peerlearn.engine.precision import Precision
from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.transfer.knowledge import PredictionKnowledge
from peerlearn.transfer.outputs import class_last


def learned_class_weights(
    cohort: Cohort, x: Any, precision: Precision, class_names: Sequence[str] | None = None
) -> dict[str, dict[str, float]]:
    """The weight of each class for each peer whose edges have `weighting: class`.

    Of several entries that weight one peer's logits, the first counts.

    Args:
        cohort: trained peers and the graph they were trained with.
        x: the rows of every batch, such as a whole graph; other rows have no such weights.
        precision: of the run.
        class_names: in the order of the logits; None for numbers.

    Returns:
        By peer and class; empty where nothing was learned.
    """
    entries = [
        entry
        for entry in cohort.transfer.entries
        if isinstance(entry, PredictionKnowledge) and entry.options.weighting.by == "class"
    ]
    if not entries:
        return {}
    with evaluating(cohort), torch.no_grad(), precision.autocast():
        outputs = cohort(precision.place(x))
    weights: dict[str, dict[str, float]] = {}
    for entry in entries:
        for peer, weighting in entry.weightings.items():
            with suppress(InputError), torch.no_grad():
                learned = weighting(class_last(outputs[peer].logits).float()).tolist()
                names = class_names or [str(number) for number in range(len(learned))]
                weights.setdefault(peer, dict(zip(names, learned, strict=True)))
    return weights
