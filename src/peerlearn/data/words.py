"""Data in words, before anything is trained on them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from peerlearn.data.account import Account, counted
from peerlearn.data.info import DataInfo

MOST_CLASSES = 12
"""Classes that are told one by one; of more, the first ones are named."""


def data_facts(
    info: DataInfo, account: Account, counts: Sequence[int] | None = None
) -> dict[str, list[str]]:
    """What the data are, their classes, and the account of how they were read.

    `counts` are the training rows of each class; None where nobody counts.
    """
    rows = ", ".join(f"{count:,} {part}" for part, count in info.rows.items())
    return {
        "data": [f"{info.name}: {info.classes} classes, {info.content} ({rows})"],
        "classes": _classes(info.class_names, counts),
        "read": account.lines(),
    }


def label_counts(y: Tensor, classes: int) -> list[int] | None:
    """How many rows each class has, from int64 (N,) of which negative ones are no label.

    None where rows have several labels.
    """
    if y.ndim != 1 or y.is_floating_point():
        return None
    return torch.bincount(y[y >= 0].cpu(), minlength=classes).tolist()


def _classes(names: Sequence[str], counts: Sequence[int] | None) -> list[str]:
    shown = list(names[: MOST_CLASSES if len(names) <= MOST_CLASSES else MOST_CLASSES // 2])
    more = len(names) - len(shown)
    tail = f" and {more:,} more" if more else ""
    if counts is None:
        return [", ".join(shown) + tail]
    known = names[: len(counts)]
    if more:
        few, many = min(counts), max(counts)
        each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        lines = [f"{', '.join(shown)}{tail}; {each} training rows each"]
    else:
        told = [f"{name} ({count:,})" for name, count in zip(known, counts, strict=True)]
        told[:1] = [f"{known[0]} ({counted(counts[0], 'training row')})"] if told else []
        lines = [", ".join([*told, *names[len(counts) :]])]
    if lacking := [name for name, count in zip(known, counts, strict=True) if not count]:
        gone = len(lacking) - MOST_CLASSES
        and_more = f" and {gone:,} more" if gone > 0 else ""
        lines.append(f"without a training row: {', '.join(lacking[:MOST_CLASSES])}{and_more}")
    return lines
