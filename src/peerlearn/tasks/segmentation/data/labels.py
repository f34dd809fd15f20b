"""How the label values of masks become classes 0 to C-1.

Decided over the masks of all parts together. Where values leave open what is meant, such as a few
grey pixels beside black and white, nothing is guessed: the message shows what the masks hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.account import some
from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.masks import IGNORED

NO_CLASS = 254
"""Marks, in a table, a label value that stands for no class."""
MAX_CLASSES = NO_CLASS
IGNORED_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
"""Names of a first or last class that say its pixels do not count."""
BLACK_AND_WHITE = {0, 255}
STRAY = 0.01
"""Below so many pixels for each one of value 255, values between may be strays."""
SMOOTHED = 0.25
"""Below so many pixels for each black or white one, greys may be smoothed edges."""

Counts = NDArray[np.int64]
Values = Sequence[int | Sequence[int]]


@dataclass(frozen=True)
class LabelTable:
    """The names of the classes, and for each of 256 label values the number of its class.

    `IGNORED` and `NO_CLASS` stand in the table for values of none. `notes` says how values were
    read, in sentences.
    """

    names: tuple[str, ...]
    table: Tensor
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)

    def classes_of(self, labels: Tensor) -> Tensor:
        """Masks of classes, of masks of label values; unknown values become `NO_CLASS`."""
        return self.table[labels.long()]

    def unknown(self, labels: Sequence[int]) -> list[int]:
        """The values among some that are no class and not ignored."""
        return [label for label in labels if int(self.table[label]) == NO_CLASS]

    @property
    def allowed(self) -> str:
        """The values that are a class or ignored, in words."""
        known = (self.table < NO_CLASS).nonzero()[:, 0].tolist()
        out = (self.table == IGNORED).nonzero()[:, 0].tolist()
        ignored = f", and {some(list(map(str, out)))} for pixels that do not count" if out else ""
        first, last = known[0], known[-1]
        run = known == list(range(first, last + 1))
        return (f"{first} to {last}" if run else ", ".join(map(str, known))) + ignored


class Tally:
    """How many pixels of each value masks hold.

    Args:
        counts: by part, (masks, 256).
    """

    def __init__(self, counts: Mapping[str, Counts]) -> None:
        self.counts = counts
        self.every = np.concatenate(list(counts.values()))
        self.pixels: Counts = self.every.sum(0)

    @classmethod
    def of(cls, masks: Mapping[str, Iterable[NDArray[np.uint8]]]) -> "Tally":
        """The tally of masks by part."""
        return cls(
            {part: np.stack([counted(mask) for mask in each]) for part, each in masks.items()}
        )

    def found(self, part: str | None = None) -> list[int]:
        """The values that occur, ascending: of all parts, or of one."""
        pixels = self.pixels if part is None else self.counts[part].sum(0)
        values: list[int] = pixels.nonzero()[0].tolist()
        return values

    def shown(self) -> str:
        """The table of values, in one line."""
        told = []
        for value in self.found():
            parts = [
                f"{part} {int(each[:, value].sum()):,} in {int((each[:, value] > 0).sum()):,}"
                for part, each in self.counts.items()
                if each[:, value].any()
            ]
            told.append(f"{value} ({', '.join(parts)})")
        return f"pixels of each value, in so many masks: {some(told, 12)}"


def counted(mask: NDArray[np.uint8]) -> Counts:
    """How many pixels of each of 256 values a mask holds."""
    return np.bincount(mask.reshape(-1), minlength=256)


def label_table(
    tally: Tally,
    names: Sequence[str] | None,
    ignore: int | None,
    where: str,
    values: Values | None = None,
    void: bool = False,
) -> LabelTable:
    """The classes of a data set, from the values that occur in its masks.

    Classes are the values that occur in train, 0 to the largest one or 1 to it, or one for each of
    `names` from 0 on. The value 255, the value `ignore`, and without one a first or last class
    called as in `IGNORED_NAMES` do not count, and the classes above close the gap. Masks of 0 and
    255 alone are black and white: classes 0 and 1. `values` says it all in place of that: the
    value, or the values, of each class; pixels of other values do not count. `void` says that 255
    stands for pixels that do not count.

    Raises InputError: too many names, a label without a name, fewer than two classes that occur; or
    values that leave open what they mean, with a table of them and the options that settle it.
    """
    if values is not None:
        return _as_told(tally, names, values, where)
    found, train = tally.found(), tally.found("train")
    void = void or ignore == IGNORED
    two = not names or len(names) == len(BLACK_AND_WHITE)
    if two and not void and ignore is None and set(found) == BLACK_AND_WHITE:
        note = "masks hold 0 and 255, black and white: 255 is class 1"
        return _table({0: 0, 255: 1}, names or ("0", "1"), (note,))
    if ignore is None and names:
        ignore = _ignored_name(names)
    known = [value for value in train if value not in (ignore, IGNORED)]
    if IGNORED in found and not void:
        _check_void(tally, names, ignore, where)
    if not names:
        _check_gaps(tally, known, ignore, where)
    count = len(names) if names else max(known, default=-1) + 1
    if known and known[-1] >= count:
        raise InputError(
            f"{where}: label {known[-1]}, but there are only {count} class names; allowed: 0 to "
            f"{count - 1}, and 255 for pixels that do not count."
        )
    if count > MAX_CLASSES:
        raise InputError(f"{where}: {count} classes; allowed: up to {MAX_CLASSES}.")
    if len(known) < 2:
        what = f"only label {known[0]} occurs" if known else "no pixel has a label"
        raise InputError(f"{where}: {what}; at least two classes are needed.")
    first = 0 if names or 0 in found else 1
    chosen = [value for value in range(first, count) if value != ignore]
    table = {value: place for place, value in enumerate(chosen)} | {IGNORED: IGNORED}
    notes = [] if first == 0 else [f"masks hold 1 to {count - 1} and no 0: {len(chosen)} classes"]
    if ignore is not None:
        table[ignore] = IGNORED
    out = [value for value in (ignore, IGNORED) if value is not None and tally.pixels[value]]
    for value in dict.fromkeys(out):
        share = tally.pixels[value] / tally.pixels.sum()
        notes.append(f"pixels of value {value} do not count: {share:.1%} of all masks")
    listed = [names[value] for value in chosen] if names else list(map(str, chosen))
    notes += _untested(tally, {value: [value] for value in chosen}, listed)
    return _table(table, listed, tuple(notes))


def _untested(tally: Tally, values: Mapping[int, Sequence[int]], names: Sequence[str]) -> list[str]:
    """What is told of classes that no test mask has, where there are test masks."""
    if "test" not in tally.counts:
        return []
    there = set(tally.found("test"))
    pairs = zip(values.values(), names, strict=True)
    gone = [name for group, name in pairs if not there & set(group)]
    if not gone:
        return []
    return [
        f"{len(gone)} of {len(names)} classes are in no test mask, so IoU and Dice are 0 of those "
        f"that are predicted all the same, and of others not counted: {some(gone)}"
    ]


def _as_told(tally: Tally, names: Sequence[str] | None, values: Values, where: str) -> LabelTable:
    """The table of classes whose values are given."""
    groups = [(value,) if isinstance(value, int) else tuple(value) for value in values]
    table = dict.fromkeys(range(256), IGNORED)
    for place, group in enumerate(groups):
        table |= dict.fromkeys(group, place)
    if names and len(names) != len(groups):
        raise InputError(
            f"data.values: {len(groups)} classes, but {where} has {len(names)} class names."
        )
    occurring = [group for group in groups if tally.counts["train"][:, list(group)].any()]
    if len(occurring) < 2:
        raise InputError(
            f"data.values: {len(occurring)} of these classes occur in train; at least two are "
            f"needed. {where}: {tally.shown()}."
        )
    others = [value for value in tally.found() if table[value] == IGNORED]
    notes = [
        f"pixels of value {value} do not count: {int(tally.pixels[value]):,} of them"
        for value in others
    ]
    listed = names or ["+".join(map(str, group)) for group in groups]
    notes = notes[:8] + _untested(tally, dict(enumerate(groups)), listed)
    return _table(table, listed, tuple(notes))


def _check_void(tally: Tally, names: Sequence[str] | None, ignore: int | None, where: str) -> None:
    """Refuse masks in which 255 may be an object, or what does not count."""
    between = [v for v in tally.found() if v not in (0, ignore, IGNORED)]
    white = tally.every[:, IGNORED] > 0
    other = tally.every[:, between].any(1)
    reason = ""
    if between and tally.pixels[between].sum() < STRAY * tally.pixels[IGNORED]:
        reason = "few pixels are of the values between 0 and 255, which may be strays"
    elif between == [1] and (white & ~other).any() and (other & ~white).any():
        reason = "some masks hold 1 and others 255, which may be the same object"
    if reason and (names is None or len(names) <= 2):
        raise InputError(
            f"{where}: {reason}: does 255 mark an object, or pixels that do not count? "
            f"{tally.shown()}. Say data.ignore=255 if they do not count, or which values are "
            "which class: data.values=[0,255], or data.values=[0,[1,255]] for several together."
        )


def _check_gaps(tally: Tally, known: Sequence[int], ignore: int | None, where: str) -> None:
    """Refuse values of train between which others are missing, where nobody has named them."""
    least, found = min(known, default=0), set(tally.found())
    missing = set(range(least, max(known, default=0))) - found - {ignore}
    if missing or least > 1:
        if _smoothed(tally):
            example = "[0,255] where those between are edges that a tool has smoothed"
        else:
            white = ",255" if IGNORED in found else ""
            example = f"[{','.join(map(str, list(known)[:6]))}{white}]"
        raise InputError(
            f"{where}: label values have gaps, and nobody says what they are: {tally.shown()}. Say "
            f"which values are classes, data.values={example}, others then do not count; or name "
            "all values from 0 on (classes.txt of a folder, class_names of a file)."
        )


def _smoothed(tally: Tally) -> bool:
    """Whether most is black or white, and the rest of many greys."""
    found = tally.found()
    between = [value for value in found if 0 < value < IGNORED]
    ends = tally.pixels[0] + tally.pixels[IGNORED]
    both = {0, IGNORED} <= set(found)
    return both and len(between) > 2 and bool(tally.pixels[between].sum() < SMOOTHED * ends)


def _ignored_name(names: Sequence[str]) -> int | None:
    for place in (len(names) - 1, 0):
        if names[place].strip().lower() in IGNORED_NAMES:
            return place
    return None


def _table(
    entries: Mapping[int, int], names: Sequence[str], notes: tuple[str, ...] = ()
) -> LabelTable:
    table = torch.full((256,), NO_CLASS, dtype=torch.uint8)
    for value, place in entries.items():
        table[value] = place
    return LabelTable(tuple(names), table, notes)
