"""Which rows are held out, kept and labelled: functions of the split seed alone.

Rows of a class are taken from the front of one keyed permutation of it, so a smaller selection
is part of every larger one, and equal sizes pick equal rows whatever they are used for.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from peerlearn.data.datasets import Dataset, S, Source, Split, strata
from peerlearn.data.spec import DataSpec, NamedDataSpec
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import keyed_generator


def build_dataset(name: str, source: Source, spec: DataSpec) -> Dataset:
    """The data set of a source, divided as `divide` does."""
    return Dataset(name, *divide(source, spec), **source.said())


def divide(source: Source[S], spec: NamedDataSpec) -> tuple[S, S, S]:
    """(train, val, test): hold out what the source lacks, then keep what `spec` asks for.

    The validation rows do not depend on `train_size` or `labels`.

    Raises InputError: `data.val_size`, `data.train_size` or `data.labels` does not fit the rows.
    """
    train, val, test = source.train, source.val, source.test
    if test is None:
        train, test = hold_out(train, spec.val_size, spec.split_seed, "test")
    if val is None:
        train, val = hold_out(train, spec.val_size, spec.split_seed, "val")
    if spec.train_size is not None:
        train = train.select(kept_rows(train.strata, spec.train_size, spec.split_seed))
    if spec.labels is not None:
        train = train.labelled_only(_labelled(train.strata, spec.labels, spec.split_seed))
    return train, val, test


def hold_out(
    train: S, size: float, seed: int, purpose: str, field: str = "data.val_size"
) -> tuple[S, S]:
    """(rest, held out): classes in the proportions of train, at least one row of each left.

    Rows without a label all stay. `size` is a fraction of the labelled rows, or their count where
    1 or more; `purpose` is the key of the choice, and messages name `field`.
    """
    y = train.strata
    known = int(labelled_rows(y).sum())
    count = int(size) if size >= 1 else max(1, round(size * known))
    spare = int((_class_counts(y) - 1).sum())
    if count > spare:
        raise InputError(
            f"{field}: {size:g} would hold out {count} rows for {purpose}, but train has "
            f"{known} labelled rows and must keep one of each class; allowed: up to {spare}."
        )
    chosen = stratified_rows(
        y, count, seed, purpose, lambda counts, size: proportional_shares(counts - 1, size)
    )
    left = torch.ones(len(train), dtype=torch.bool)
    left[chosen] = False
    return train.select(left.nonzero()[:, 0]), train.select(chosen)


def kept_rows(y: Tensor, size: int, seed: int, field: str = "data.train_size") -> Tensor:
    """Positions of `size` training rows, ascending, as many of each class as possible.

    Where some rows have no label, labelled and unlabelled ones keep their proportion.
    """
    known = labelled_rows(y)
    if size > len(y):
        raise InputError(f"{field}: {size} rows asked for; allowed: up to {len(y)}, all of train.")
    labelled = round(size * int(known.sum()) / len(y))
    classes = len(_class_counts(y))
    if labelled < classes:
        raise InputError(
            f"{field}: {size} is less than one labelled row for each of {classes} classes; "
            f"allowed: {-(-classes * len(y) // int(known.sum()))} to {len(y)}."
        )
    blank = (~known).nonzero()[:, 0]
    order = torch.randperm(len(blank), generator=keyed_generator(seed, "kept", "unlabelled"))
    chosen = stratified_rows(y, labelled, seed, "kept", even_shares)
    return torch.cat([chosen, blank[order[: size - labelled]]]).sort().values


def kept_labels(y: Tensor, size: int, seed: int) -> Tensor:
    """`y` with `size` of its labels left, those of the rows that `kept_rows` would keep."""
    return Split(y, y).labelled_only(_labelled(y, size, seed)).y


def stratified_rows(
    y: Tensor, size: int, seed: int, purpose: str, allocate: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Positions of `size` labelled rows, ascending, divided among the classes by `allocate`.

    It makes rows to take per class of those available and `size`. See `strata` for several labels.
    """
    known = labelled_rows(y).nonzero()[:, 0]
    strata_K = strata(y[known])
    classes, counts = strata_K.unique(return_counts=True)
    chosen = []
    for label, share in zip(classes.tolist(), allocate(counts, size).tolist(), strict=True):
        rows = known[strata_K == label]
        order = torch.randperm(len(rows), generator=keyed_generator(seed, purpose, label))
        chosen.append(rows[order[:share]])
    return torch.cat(chosen).sort().values


def even_shares(counts: Tensor, size: int) -> Tensor:
    """Equal shares of `size`, those above a class's count passed on to the other classes."""
    shares = torch.zeros_like(counts)
    while (left := size - int(shares.sum())) > 0:
        unfilled = (shares < counts).nonzero()[:, 0]
        receiving = unfilled[:left]
        step = max(1, left // len(unfilled))
        shares[receiving] = torch.minimum(shares[receiving] + step, counts[receiving])
    return shares


def proportional_shares(counts: Tensor, size: int) -> Tensor:
    """Shares of `size` in the proportion of `counts`, rounded by largest remainder."""
    total = int(counts.sum())
    shares = counts * size // total
    remainder = counts * size % total
    order = remainder.argsort(descending=True, stable=True)
    shares[order[: size - int(shares.sum())]] += 1
    return shares


def _labelled(y: Tensor, size: int, seed: int) -> Tensor:
    """Positions of the rows whose labels `kept_labels` leaves."""
    known = labelled_rows(y).nonzero()[:, 0]
    if size > len(known):
        raise InputError(f"data.labels: {size} asked for; allowed: up to {len(known)}, all labels.")
    return known[kept_rows(y[known], size, seed, "data.labels")]


def _class_counts(y: Tensor) -> Tensor:
    """Labelled rows of each class that occurs."""
    counts: Tensor = strata(y[labelled_rows(y)]).unique(return_counts=True)[1]
    return counts
