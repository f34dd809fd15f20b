"""Which rows are held out, kept and labelled: functions of the split seed alone.

Rows of a class are taken from the front of one keyed permutation of it, so a smaller selection
is part of every larger one, and equal sizes pick equal rows whatever they are used for.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from peerlearn.data.account import Account
from peerlearn.data.datasets import Dataset, S, Source, Split, strata
from peerlearn.data.spec import DataSpec, NamedDataSpec
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import keyed_generator


class Divided(NamedTuple, Generic[S]):
    """The rows of a source in their parts.

    Attributes:
        held_out: how many rows were held out of train for the parts that the source lacks.
        account: of what is not used.
    """

    train: S
    val: S
    test: S
    held_out: Mapping[str, int]
    account: Account

    @property
    def parts(self) -> tuple[S, S, S]:
        """Train, val and test."""
        return self.train, self.val, self.test


def build_dataset(name: str, source: Source, spec: DataSpec) -> Dataset:
    """The data set of a source, divided as `divide` does."""
    return dataset_of(name, source, divide(source, spec))


def dataset_of(name: str, source: Source, divided: Divided[Split]) -> Dataset:
    """The data set of a source that was divided."""
    data = Dataset(name, *divided.parts, **source.said())
    return replace(data, account=data.account + divided.account)


def divide(source: Source[S], spec: NamedDataSpec) -> Divided[S]:
    """Hold out what the source lacks, then keep what `spec` asks for.

    The validation rows do not depend on `train_size`, and on `labels` only as `val_labels` says.

    Raises InputError: `data.val_size`, `data.train_size`, `data.labels` or `data.val_labels` does
    not fit the rows.
    """
    train, val, test, held_out = source.train, source.val, source.test, {}
    held_out_nothing: tuple[str, ...] = ()
    if test is None:
        train, test = hold_out(train, spec.val_size, spec.split_seed, "test")
        held_out["test"] = len(test)
    elif val is not None and spec.val_size != type(spec).model_fields["val_size"].default:
        held_out_nothing = (
            f"data.val_size: {spec.val_size:g} does nothing here, for there are val and test rows; "
            "data.val_labels says how many of val are used",
        )
    if val is None:
        train, val = hold_out(train, spec.val_size, spec.split_seed, "val")
        held_out = {"val": len(val)} | held_out
    if spec.train_size is not None:
        train = train.select(kept_rows(train.strata, spec.train_size, spec.split_seed))
    if spec.labels is not None:
        train = train.labelled_only(_labelled(train.strata, spec.labels, spec.split_seed))
    chosen, account = used_to_validate(val.strata, spec)
    if chosen is not None:
        val = val.select(chosen)
    return Divided(train, val, test, held_out, Account(notes=held_out_nothing) + account)


def used_to_validate(y: Tensor, spec: NamedDataSpec) -> tuple[Tensor | None, Account]:
    """Positions of the validation rows that are used, None for all; and what is told of it.

    Weights that were selected, or calibrated, with many labels are no weights of few labels. The
    rows are chosen as those of `data.labels` are; the others, which would have no label, are left
    out.

    Raises InputError: `data.val_labels` is more than there are, or less than one of each class.
    """
    asked, known = spec.val_labels, labelled_rows(y).nonzero()[:, 0]
    if asked == "all" or (asked is None and (spec.labels is None or spec.labels >= len(known))):
        return None, Account()
    if isinstance(asked, int):
        chosen = _labelled(y, asked, spec.split_seed, "data.val_labels")
        why = "data.val_labels"
    else:
        assert spec.labels is not None, "asked above"
        chosen = stratified_rows(y, spec.labels, spec.split_seed, "kept", even_shares)
        why = "no more labels than training has; data.val_labels=all for all of them"
    note = f"val: {len(chosen):,} of {len(y):,} rows are used ({why})"
    return chosen, Account(notes=(note,))


def hold_out(
    train: S,
    size: float,
    seed: int,
    purpose: str,
    field: str = "data.val_size",
    what: str = "train",
) -> tuple[S, S]:
    """(rest, held out): classes in the proportions of train, at least one row of each left.

    Rows without a label all stay. `size` is a fraction of the labelled rows, or their count where
    1 or more; `purpose` is the key of the choice. Messages name `field`, and call the rows `what`.

    Raises InputError: so many cannot be held out.
    """
    y = train.strata
    known = int(labelled_rows(y).sum())
    count = int(size) if size >= 1 else max(1, round(size * known))
    spare = int((_class_counts(y) - 1).sum())
    if count > spare:
        allowed = f"allowed: up to {spare}" if spare else "none can be, so give more rows"
        raise InputError(
            f"{field}: {size:g} would hold out {count} rows for {purpose}, but {what} has "
            f"{known} labelled rows and must keep one of each class; {allowed}."
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


def _labelled(y: Tensor, size: int, seed: int, field: str = "data.labels") -> Tensor:
    """Positions of the rows whose labels `kept_labels` leaves."""
    known = labelled_rows(y).nonzero()[:, 0]
    if size > len(known):
        raise InputError(
            f"{field}: {size} asked for; allowed: up to {len(known)}, or null for all that are "
            "left when rows have been held out"
        )
    return known[kept_rows(y[known], size, seed, field)]


def _class_counts(y: Tensor) -> Tensor:
    """Labelled rows of each class that occurs."""
    counts: Tensor = strata(y[labelled_rows(y)]).unique(return_counts=True)[1]
    return counts
