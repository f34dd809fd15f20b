"""How labels become classes 0 to C-1, as scikit-learn has it: classes are the labels that occur.

Labels 0 to C-1 are what they are. Others, such as 1 to 10 or texts, are counted in their order and
name their classes. Names that are given say it all: label c is the class of the c-th name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.account import some
from peerlearn.errors import InputError, did_you_mean
from peerlearn.objectives.labels import UNLABELLED

Array = NDArray[np.generic]
INSIST = "say data.classes={count}"
MOST_NAMES = 100_000
"""Several times the classes of the largest data sets."""
SURELY_CLASSES = 20
"""Up to so many labels are classes, however few rows each of them has."""
ROWS_A_CLASS, ROWS_A_VALUE = 2, 5
"""Fewer rows than this a label, on average, and labels are numbers to predict: where they count
0, 1, 2, …, as classes do, and where some in between do not occur, as with amounts."""


@dataclass(frozen=True)
class Classes:
    """The classes of labels.

    Attributes:
        values: the label of every class, ascending.
        names: one a class; none where the classes have no names but their numbers.
        notes: how labels were read, in sentences, where there is something to say.
    """

    values: NDArray[np.int64]
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def of(self, labels: Tensor) -> Tensor:
        """The class of every label, all of which are of one; `UNLABELLED` stays."""
        places = torch.from_numpy(np.searchsorted(self.values, labels.numpy()))
        return torch.where(labels == UNLABELLED, UNLABELLED, places)


def classes_of(
    labels: Mapping[str, Tensor],
    where: str,
    names: tuple[str, ...] = (),
    count: int | None = None,
    none: str = "no row has a label",
    insist: str = INSIST,
) -> Classes:
    """The classes of labels, found in the first of several arrays.

    A class may be missing in the first one where the labels of all together are 0 to C-1.

    Args:
        labels: int64 by the name of their array, `UNLABELLED` where there is none.
        where: file, for messages.
        names: that are given, one for each label from 0 on.
        count: of classes, where somebody says it: of the labels that occur, or of 0 to `count` - 1.
        none: what to say where no row has a label.
        insist: how one says that numbers are classes after all; {count} stands for how many.

    Raises InputError: fewer than two classes; a label without a name or outside the first array; a
    `count` that does not fit; numbers to predict rather than classes.
    """
    first, *others = labels
    found = _distinct([labels[first]])
    if len(found) < 2:
        hint = ""
        if len(found) and (labels[first] == UNLABELLED).any():
            hint = ", for -1 marks a row without a label"
        what = f"only class {int(found[0])} occurs{hint}" if len(found) else none
        raise InputError(f"{where}: {first}: {what}; at least two classes are needed.")
    if names:
        reason = f"has no name: class_names has {len(names)}; allowed: 0 to {len(names) - 1}"
        told = _far_more(len(names), found, f"class_names has {len(names):,} names", first)
        made = Classes(np.arange(len(names)), names, told)
        return _checked(made, labels, where, reason)
    if count is None:
        _check_classes(labels[first], found, f"{where}: {first}", insist)
        together = _distinct(labels.values())
        count = len(together) if _counts(together) and together[-1] == found[-1] else len(found)
    if count != len(found) or _counts(found):
        if found[-1] >= count:
            raise InputError(
                f"data.classes: {count}, but {where}: {first} holds {len(found)} labels, "
                f"{_listed(found)}; allowed: {len(found)}, or more than the largest label."
            )
        reason = f"is no class of {first}; allowed: 0 to {count - 1}"
        told = _far_more(count, found, f"data.classes says {count:,} classes", first)
        return _checked(Classes(np.arange(count), notes=told), labels, where, reason)
    said = f"{first} holds {len(found)} labels, {_listed(found)}: as many classes, named by them"
    made = Classes(found, tuple(map(str, found.tolist())), (said,))
    reason = f"is no class of {first}; allowed: {_listed(found)}"
    return _checked(made, {name: labels[name] for name in others}, where, reason)


def _far_more(count: int, found: NDArray[np.int64], said: str, first: str) -> tuple[str, ...]:
    """What is told where most classes are there by name or number alone."""
    if count <= 2 * len(found):
        return ()
    return (f"{said}, but {first} holds {len(found):,} labels: {count - len(found):,} never occur",)


def occurring(labels: Iterable[Tensor]) -> Classes:
    """One class for each label that occurs, named by it; there may be none."""
    found = _distinct(labels)
    return Classes(found, tuple(map(str, found.tolist())))


def text_labels(arrays: Mapping[str, Array], where: str) -> tuple[dict[str, Tensor], Classes]:
    """Labels that are texts, as numbers of their classes, and these; an empty text is no label.

    Names stay as typed, in the order of `in_order`. Raises InputError: labels that are empty where
    they must not be, or that the first array, which alone may have empty ones, does not hold.
    """
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array.dtype.kind not in "US":
            raise InputError(f"{where}: {name} holds {array.dtype}, but other labels are texts.")
    texts = {name: array.astype(str) for name, array in arrays.items()}
    found = in_order(set(np.unique(texts[first]).tolist()) - {""})
    number = {name: place for place, name in enumerate(found)} | {"": UNLABELLED}
    made = {}
    for name, array in texts.items():
        kinds, places = np.unique(array, return_inverse=True)
        for kind in kinds.tolist():
            if kind not in number or (kind == "" and name != first):
                raise InputError(
                    f"{where}: {name}: label {kind!r} is no class of {first}; allowed: "
                    f"{some(found, 10)}.{did_you_mean(kind, found)}"
                )
        numbers = np.array([number[kind] for kind in kinds.tolist()], np.int64)
        made[name] = torch.from_numpy(numbers[places.reshape(array.shape)])
    bare: dict[str, str] = {}
    notes = [f"{first} holds texts: {len(found)} classes, named as typed"]
    for kind in found:
        other = bare.setdefault(kind.strip().lower(), kind)
        if other != kind:
            notes.append(f"labels {other!r} and {kind!r} of {first} are two classes")
    return made, Classes(np.arange(len(found)), tuple(found), tuple(notes))


def read_class_names(found: Array | Sequence[object] | None, where: str) -> tuple[str, ...]:
    """The names that an array of texts or bytes holds; none where there is no array.

    Raises InputError: no list, far too many names, bytes that are no UTF-8, or a name that is
    empty or there twice.
    """
    if found is None:
        return ()
    array = np.asarray(found)
    if array.ndim != 1:
        raise InputError(f"{where}: class_names has shape {array.shape}; expected a list of names.")
    if len(array) > MOST_NAMES:
        raise InputError(
            f"{where}: class_names has {len(array):,} names; allowed: up to {MOST_NAMES:,}, one "
            "for each class."
        )
    try:
        names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in array.tolist())
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: class_names holds bytes that are no UTF-8 ({error}).") from None
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if not name.strip() or name in places:
            twice = f"has {name!r} twice, as {places.get(name)} and {place}"
            what = twice if name.strip() else f"has an empty name at {place}"
            raise InputError(f"{where}: class_names {what}; a class is told by its name.")
        places[name] = place
    return names


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of their classes: whole numbers by value, anything else as texts."""
    listed = sorted(names)
    return sorted(listed, key=int) if numbers(listed) else listed


def numbers(names: Iterable[str]) -> bool:
    """Whether all names are whole numbers."""
    return all(name.isascii() and name.removeprefix("-").isdigit() for name in names)


def _distinct(labels: Iterable[Tensor]) -> NDArray[np.int64]:
    """Ascending; what is no label left out."""
    parts = [np.unique(part.numpy()) for part in labels]
    found: NDArray[np.int64] = np.unique(np.concatenate(parts))
    return found[found != UNLABELLED]


def _counts(found: NDArray[np.int64]) -> bool:
    """Whether ascending numbers are 0, 1, 2, …"""
    return bool(found[0] == 0 and found[-1] == len(found) - 1)


def _check_classes(labels: Tensor, found: NDArray[np.int64], where: str, insist: str) -> None:
    """Refuse numbers that somebody wants predicted, where classes are asked for."""
    rows = int((labels != UNLABELLED).sum())
    fewest = ROWS_A_CLASS if _counts(found) else ROWS_A_VALUE
    if len(found) > SURELY_CLASSES and rows < fewest * len(found):
        raise InputError(
            f"{where}: looks like a regression target: {len(found)} different values from "
            f"{found[0]} to {found[-1]} in {rows} rows, {rows / len(found):.1f} rows each. "
            f"If they are classes, {insist.format(count=len(found))}; peerlearn predicts no "
            "numbers."
        )


def _checked(classes: Classes, labels: Mapping[str, Tensor], where: str, reason: str) -> Classes:
    """The classes; InputError for the first label that is none of them."""
    for name, each in labels.items():
        wrong = (each != UNLABELLED).numpy() & ~np.isin(each.numpy(), classes.values)
        if wrong.any():
            row = tuple(np.argwhere(wrong)[0].tolist())
            raise InputError(
                f"{where}: {name}: {int(wrong.sum())} labels are wrong: row {row[0]} holds "
                f"{int(each[row])}, which {reason}."
            )
    return classes


def _listed(found: NDArray[np.int64]) -> str:
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]} to {found[-1]}"
    listed = list(map(str, found.tolist()))
    return some(listed, 9) if len(listed) > 10 else ", ".join(listed)
