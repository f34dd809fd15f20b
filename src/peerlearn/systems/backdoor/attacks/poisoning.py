"""Poisoned data: training rows with a trigger in some of them, and test rows that all have it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from peerlearn.data.datasets import Dataset, Split
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import keyed_generator
from peerlearn.systems.backdoor.attacks.base import Attack, Change, Victims

CHUNK = 4096
"""Images that are changed at once."""


@dataclass(frozen=True)
class Poisoned:
    """What an attack makes of a data set.

    Attributes:
        data: with training rows that are poisoned; val and test are as they were.
        poisoned: bool (N,), training rows that have the trigger. Known to whoever attacks.
        triggered: test rows with the trigger, and their true labels; none whose label is aimed at.
        aims: int64, the class that each of `triggered` shall be taken for.
        sources: int64, the test row that each of `triggered` was.
        decoys: bool (N,), training rows that have the trigger's decoy and keep their labels.
    """

    data: Dataset
    poisoned: Tensor
    triggered: Split
    aims: Tensor
    sources: Tensor
    decoys: Tensor


def poison(
    data: Dataset,
    attack: Attack,
    seed: int,
    surrogate: Callable[[Split, int, int], nn.Module],
    field: str = "data.attack",
) -> Poisoned:
    """Poison the training rows of a data set, and put the trigger on its test rows.

    `field` is what messages call the attack; an option of it is `field.target`, or `target` where
    `field` is empty.

    Raises InputError: no images of whole numbers, unknown classes, options that do not fit the
    images or the surrogate, or nothing left to poison.
    """
    check_attack(data, attack, field)
    train = data.train
    rows, decoys = chosen_rows(train.y, attack, seed)
    trigger = attack.trigger(Victims(train, data.classes, seed, surrogate))
    x, y = train.x.clone(), train.y.clone()
    x[rows] = changed(trigger.train, train.x[rows], seed, "train")
    y[rows] = attack.aims(y[rows], data.classes)
    if trigger.decoy is None:
        decoys = decoys[:0]
    else:
        x[decoys] = changed(trigger.decoy, train.x[decoys], seed, "decoy")
    poisoned, decoyed = (torch.zeros(len(train), dtype=torch.bool) for _ in range(2))
    poisoned[rows], decoyed[decoys] = True, True
    test = data.test
    wanted = attack.aims(test.y, data.classes)
    sources = (labelled_rows(test.y) & (wanted != test.y)).nonzero()[:, 0]
    shown = changed(trigger.shown, test.x[sources], seed, "test")
    return Poisoned(
        replace(data, train=Split(x, y)),
        poisoned,
        Split(shown, test.y[sources]),
        wanted[sources],
        sources,
        decoyed,
    )


def check_attack(data: Dataset, attack: Attack, field: str = "data.attack") -> None:
    """See that an attack can be made on a data set. Raises InputError: it cannot; says why."""
    train, whole, option = data.train, field or "attack", f"{field}." if field else ""
    if train.x.dtype != torch.uint8 or len(train.sample_shape) != 3 or not data.in_memory:
        raise InputError(
            f"{whole}: changes images whose pixels are whole numbers from 0 to 255 and that are "
            f"in memory; data {data.name!r} has rows of shape {data.sample_shape}, "
            f"{str(train.x.dtype).removeprefix('torch.')}"
        )
    if data.multilabel:
        raise InputError(f"{whole}: rows of data {data.name!r} have several labels; one is needed")
    if attack.target >= data.classes:
        raise InputError(
            f"{option}target: found {attack.target}; data {data.name!r} has classes 0 to "
            f"{data.classes - 1}"
        )
    if attack.clean_label and not (train.y == attack.target).any():
        name = data.class_names[attack.target]
        raise InputError(f"{option}target: no training row is of class {name!r}")
    try:
        attack.check(train.sample_shape)
    except InputError as error:
        raise InputError(f"{option}{error}") from None


def chosen_rows(y_N: Tensor, attack: Attack, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of the rows that are poisoned, and of decoys, both ascending.

    Of all labelled rows whatever their class, as BackdoorBench has it, so that those of the target
    class keep their labels; clean-label attacks poison rows of the target class alone.
    """
    known = labelled_rows(y_N)
    count = max(1, round(attack.ratio * int(known.sum())))
    able = (known & (y_N == attack.target)) if attack.clean_label else known
    order = able.nonzero()[:, 0]
    generator = keyed_generator(seed, "poisoned rows")
    order = order[torch.randperm(len(order), generator=generator)]
    more = min(count + round(attack.decoys * count), len(order))
    return order[:count].sort().values, order[count:more].sort().values


def changed(change: Change, x_NCHW: Tensor, seed: int, part: str) -> Tensor:
    """Images with the trigger; what is random is keyed by the seed and the part of the data."""
    generator = keyed_generator(seed, "trigger", part)
    parts = [change(each, generator) for each in x_NCHW.split(CHUNK)]
    return torch.cat(parts) if parts else x_NCHW.clone()
