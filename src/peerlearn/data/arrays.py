"""Checks plain arrays and turns them into splits; every complaint names the array.

Layout of `x`: (N, F) vectors; (N, H, W) grey images; of four axes, (N, H, W, C) where the last
one is 1, 3 or 4 long and (N, C, H, W) otherwise. uint8 stays uint8, any float becomes float32.
Rows (N, L) of any other whole numbers stay such, as int64: ids of tokens, for an embedding.

Layout of `y`: (N,) or (N, 1) labels, whole numbers or texts, whose classes are those that occur
(see `peerlearn.data.classes`), where -1 or an empty text in train marks an unlabelled row; or
(N, L), L > 1, of 0 and 1 for several labels a row, where a row of NaN in train is unlabelled.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.account import Account
from peerlearn.data.classes import INSIST, classes_of, read_class_names, text_labels
from peerlearn.data.datasets import LARGE, VALUES_PER_CHUNK, Source, Split
from peerlearn.errors import InputError, did_you_mean
from peerlearn.objectives.labels import UNLABELLED, labelled_rows

Array = NDArray[np.generic]
KEYS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "class_names")
REQUIRED = ("x_train", "y_train", "x_test", "y_test")
CHANNELS_LAST = (1, 3, 4)
PARTS = ("train", "val", "test")
UNSCALED = 100
"""A largest value above it, beside rows within [-1, 1], is of bytes that nobody scaled."""


def source_from_arrays(
    arrays: Mapping[str, Array],
    where: str,
    count: int | None = None,
    required: Sequence[str] = REQUIRED,
    insist: str = INSIST,
) -> Source:
    """Splits from arrays named as in an `.npz` file (`KEYS`).

    `x_val, y_val` (held out of train otherwise), `class_names` and what else is not `required` may
    be missing; messages name the source of the arrays as `where`. `count` is that of the classes,
    as `data.classes` gives it, and `insist` as in `classes_of`.

    Raises InputError: the first thing that is wrong, with the array and what was found.
    """
    check_names(arrays, where, required=required)
    parts = [part for part in PARTS if f"x_{part}" in arrays]
    names = read_class_names(arrays.get("class_names"), where)
    labels = {f"y_{part}": arrays[f"y_{part}"] for part in parts}
    notes: tuple[str, ...] = ()
    if any(np.asarray(each).dtype.kind in "US" for each in labels.values()):
        labels, names, notes = of_texts(labels, names, where)
    splits: dict[str, Split] = {}
    for part in parts:
        x, y = arrays[f"x_{part}"], labels[f"y_{part}"]
        check_lengths(x, y, part, where)
        splits[part] = Split(
            read_rows(x, f"{where}: x_{part}", ids=True),
            read_targets(y, f"{where}: y_{part}", blanks=part == "train"),
        )
    check_shapes(splits, arrays, where)
    check_ranges(splits, where)
    return source_of(splits, where, names, count, notes, insist)


def source_of(
    splits: Mapping[str, Split],
    where: str,
    names: tuple[str, ...] = (),
    count: int | None = None,
    notes: tuple[str, ...] = (),
    insist: str = INSIST,
) -> Source:
    """A source of splits whose labels are as they were read; see `peerlearn.data.classes`."""
    train, several = splits["train"], splits["train"].y.ndim == 2
    if several:
        classes, further = _several(splits, names, where)
    else:
        labels = {f"y_{part}": split.y for part, split in splits.items()}
        found = classes_of(labels, where, names, count, insist=insist)
        splits = {part: split.with_labels(found.of(split.y)) for part, split in splits.items()}
        train, classes, names, further = splits["train"], len(found), found.names, found.notes
    account = Account(notes=notes + further)
    return Source(train, splits.get("val"), splits.get("test"), classes, names, several, account)


def of_texts(
    labels: Mapping[str, Array], names: tuple[str, ...], where: str
) -> tuple[dict[str, Array], tuple[str, ...], tuple[str, ...]]:
    """(labels as numbers of classes, their names, notes) of labels that are texts.

    `names` are those that are given, if any. Raises InputError: as `text_labels`, or a label that
    has none of the names.
    """
    numbers, found = text_labels(labels, where)
    if not names:
        return {key: y.numpy() for key, y in numbers.items()}, found.names, found.notes
    if strangers := [name for name in found.names if name not in names]:
        raise InputError(
            f"{where}: {next(iter(labels))}: label {strangers[0]!r} is not in class_names."
            f"{did_you_mean(strangers[0], names)}"
        )
    place = np.array([*(names.index(name) for name in found.names), UNLABELLED])
    return {key: place[y.numpy()] for key, y in numbers.items()}, names, ()


def _several(
    splits: Mapping[str, Split], names: tuple[str, ...], where: str
) -> tuple[int, tuple[str, ...]]:
    """(labels, notes) of rows that may have several labels each."""
    classes = splits["train"].y.shape[1]
    known = [split.y[labelled_rows(split.y)] for split in splits.values()]
    if not len(known[0]):
        raise InputError(f"{where}: y_train: no row has a label.")
    if names and len(names) != classes:
        raise InputError(
            f"{where}: class_names has {len(names)} names; expected one for each of {classes} "
            "labels."
        )
    if all(bool((y.sum(1) == 1).all()) for y in known):
        return classes, (
            f"every row of y has exactly one of {classes} labels, and is read as if it could have "
            "several; for classes that exclude each other give y.argmax(1)",
        )
    return classes, ()


def check_names(
    found: Mapping[str, object],
    where: str,
    known: Collection[str] = KEYS,
    required: Sequence[str] = REQUIRED,
) -> None:
    """Every required array is there, and none that was meant to be the validation split."""
    needed = list(required)
    for part in ("val", "test"):
        keys = [f"x_{part}", f"y_{part}"]
        if any(key in found for key in keys):
            needed += [key for key in keys if key not in needed]
    for key in sorted(needed, key=KEYS.index):
        if key not in found:
            hint = did_you_mean(key, [name for name in found if name not in known])
            raise InputError(
                f"{where}: array {key!r} is missing.{hint} Found: {', '.join(found) or 'nothing'}. "
                f"Needed: {', '.join(required)}; others may be left out, x and y together."
            )
    for name in found:
        if name not in known and name.lower().startswith(("x_val", "y_val")):
            raise InputError(f"{where}: unknown array {name!r}. Did you mean {name[:5].lower()!r}?")


def read_rows(x: Array, where: str, ids: bool = False) -> Tensor:
    """(N, C, H, W) or (N, F), uint8 or float32, from any layout that is allowed.

    `ids` says whether rows of whole numbers are allowed, int64 (N, L).
    """
    if ids and x.dtype.kind in "iu" and x.dtype != np.uint8 and x.ndim == 2 and x.shape[1]:
        whole = x.astype(np.int64)
        if (whole < 0).any():
            row = int((whole < 0).any(1).argmax())
            raise InputError(
                f"{where}: row {row} holds {whole[row].min()}; whole numbers (N,L) are ids for an "
                "embedding, from 0 up. For measurements give floats."
            )
        return torch.from_numpy(whole)
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise InputError(f"{where}: dtype {x.dtype}; allowed: uint8 (0 to 255) or float.")
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        allowed = "(N,F), (N,H,W), (N,H,W,C) with C in 1, 3, 4, or (N,C,H,W)"
        raise InputError(f"{where}: shape {x.shape}; allowed: {allowed}.")
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32, copy=False)
        _check_finite(x, where)
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[-1] in CHANNELS_LAST:
        x = x.transpose(0, 3, 1, 2)
    if x.nbytes >= LARGE and x.flags.writeable:
        return torch.from_numpy(x)  # of any strides: batches of its rows are contiguous
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))


def _check_finite(x: Array, where: str) -> None:
    """InputError where floats are NaN or infinite; looked at in parts, which need no memory."""
    wrong, first = 0, None
    step = max(1, VALUES_PER_CHUNK // max(1, x[:1].size))
    for start in range(0, len(x), step):
        bad_NV = ~np.isfinite(x[start : start + step]).reshape(len(x[start : start + step]), -1)
        if bad_NV.any():
            wrong += int(bad_NV.sum())
            first = start + int(bad_NV.any(1).argmax()) if first is None else first
    if wrong:
        raise InputError(f"{where}: {wrong} values are NaN or infinite, the first in row {first}.")


def read_targets(y: Array, where: str, blanks: bool) -> Tensor:
    """int64 (N,) classes or float32 (N, L) indicators; see the module for both.

    `blanks` says whether rows without a label are allowed.
    """
    if y.dtype.kind not in "iufb":
        raise InputError(f"{where}: dtype {y.dtype}; allowed: whole numbers.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise InputError(
            f"{where}: shape {y.shape}; allowed: (N,) for classes, (N,L) for several labels a row."
        )
    return _indicators(y, where, blanks) if y.ndim == 2 else _classes(y, where, blanks)


def _classes(y: Array, where: str, blanks: bool) -> Tensor:
    if y.dtype.kind == "f":
        values = y.astype(np.float64)
        whole = np.isfinite(values) & (values == np.round(values)) & (np.abs(values) <= 2**53)
        none = "; -1 marks a row without a label" if blanks and np.isnan(values).any() else ""
        _refuse(y, ~whole, where, f"is not a whole number{none}")
    labels = y.astype(np.int64)
    lowest = UNLABELLED if blanks else 0
    allowed = "0 or more, or -1 for a row without a label" if blanks else "0 or more"
    _refuse(y, labels < lowest, where, f"is not a class; allowed: {allowed}")
    return torch.from_numpy(labels)


def _indicators(y: Array, where: str, blanks: bool) -> Tensor:
    values = y.astype(np.float32)
    blank_rows = np.isnan(values).all(1) if blanks else np.zeros(len(values), dtype=bool)
    wrong = ~np.isin(values, (0, 1)).all(1) & ~blank_rows
    if wrong.any():
        row = int(wrong.argmax())
        allowed = "0 and 1, or a row of NaN without labels" if blanks else "0 and 1"
        raise InputError(
            f"{where}: {int(wrong.sum())} rows of (N,{y.shape[1]}) labels are not made of "
            f"{allowed}, the first is row {row}: {values[row].tolist()[:8]}."
        )
    return torch.from_numpy(values)


def check_lengths(x: Array, y: Array, part: str, where: str) -> None:
    """A split has rows, and a target for each of them."""
    rows, labels = (len(array) if array.ndim else 0 for array in (x, y))
    if rows != labels:
        raise InputError(f"{where}: x_{part} has {rows} rows but y_{part} has {labels}.")
    if not rows:
        raise InputError(f"{where}: x_{part} is empty; a split needs at least one row.")


def check_shapes(splits: Mapping[str, Split], arrays: Mapping[str, Array], where: str) -> None:
    """Rows and targets of all splits have one shape, and rows one dtype."""
    train = splits["train"]
    for part, split in splits.items():
        for key, mine, other in (
            ("x", split.sample_shape, train.sample_shape),
            ("y", tuple(split.y.shape[1:]), tuple(train.y.shape[1:])),
        ):
            if mine != other:
                raise InputError(
                    f"{where}: {key}_{part} has shape {arrays[f'{key}_{part}'].shape} but "
                    f"{key}_train has {arrays[f'{key}_train'].shape}; a row must have one shape."
                )
        if split.x.dtype != train.x.dtype:
            raise InputError(
                f"{where}: x_{part} is {arrays[f'x_{part}'].dtype} but x_train is "
                f"{arrays['x_train'].dtype}; uint8 is scaled to [0, 1] and float is not."
            )


def check_ranges(splits: Mapping[str, Split], where: str) -> None:
    """Refuse floats of which one split is in [0, 1] and another one in 0 to 255."""
    if splits["train"].x.dtype == torch.uint8:
        return
    ranges = {part: (float(s.x.min()), float(s.x.max())) for part, s in splits.items()}
    for part, (low, high) in ranges.items():
        for other, (least, most) in ranges.items():
            if low >= -1 and high <= 1 and least >= 0 and UNSCALED < most <= 255:
                raise InputError(
                    f"{where}: x_{part} holds {low:g} to {high:g} but x_{other} {least:g} to "
                    f"{most:g}: one of them is scaled and the other one is not; floats are read "
                    "as they are, so give all splits in one scale."
                )


def _refuse(y: Array, wrong: NDArray[np.bool_], where: str, reason: str) -> None:
    """Raise for the rows marked `wrong`, with how many there are and the first of them."""
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{where}: {int(wrong.sum())} labels are wrong: row {row} holds {y[row]}, "
            f"which {reason}."
        )
