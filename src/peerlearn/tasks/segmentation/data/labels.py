"""How the label values of masks become classes 0 to C-1."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.tasks.segmentation.data.masks import IGNORED

NO_CLASS = 254
"""Marks, in a table, a label value that stands for no class."""
MAX_CLASSES = NO_CLASS
IGNORED_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
"""Names of a first or last class that say its pixels do not count."""
BLACK_AND_WHITE = {0, 255}


@dataclass(frozen=True)
class LabelTable:
    """The names of the classes, and for each of 256 label values the number of its class.

    `IGNORED` and `NO_CLASS` stand in the table for values of none.
    """

    names: tuple[str, ...]
    table: Tensor

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
        ignored = f", and {' and '.join(map(str, out))} for pixels that do not count" if out else ""
        first, last = known[0], known[-1]
        run = known == list(range(first, last + 1))
        return (f"{first} to {last}" if run else ", ".join(map(str, known))) + ignored


def label_table(
    found: Sequence[int], names: Sequence[str] | None, ignore: int | None, where: str
) -> LabelTable:
    """The classes of a data set, from the values that occur in its training masks.

    Classes are the values 0 to the largest one, or one for each of `names`. The value 255, the
    value `ignore`, and without one a first or last class called as in `IGNORED_NAMES` do not
    count, and the classes above close the gap. Masks of 0 and 255 alone are black and white:
    classes 0 and 1.

    Raises InputError: too many names, a label without a name, or fewer than two classes that occur.
    """
    if ignore is None and set(found) == BLACK_AND_WHITE and (names is None or len(names) == 2):
        return _table({0: 0, 255: 1}, names or ("0", "1"))
    if ignore is None and names:
        ignore = _ignored_name(names)
    known = [value for value in found if value not in (ignore, IGNORED)]
    count = len(names) if names else max(known, default=-1) + 1
    if known and known[-1] >= count:
        raise InputError(
            f"{where}: label {known[-1]}, but there are only {count} class names; allowed: 0 to "
            f"{count - 1}, and 255 for pixels that do not count."
        )
    if count > MAX_CLASSES:
        raise InputError(f"{where}: {count} classes; allowed: up to {MAX_CLASSES}.")
    values = [value for value in range(count) if value != ignore]
    if len(known) < 2:
        what = f"only label {known[0]} occurs" if known else "no pixel has a label"
        raise InputError(f"{where}: {what}; at least two classes are needed.")
    table = {value: place for place, value in enumerate(values)} | {IGNORED: IGNORED}
    if ignore is not None:
        table[ignore] = IGNORED
    return _table(table, [names[value] for value in values] if names else list(map(str, values)))


def _ignored_name(names: Sequence[str]) -> int | None:
    for place in (len(names) - 1, 0):
        if names[place].strip().lower() in IGNORED_NAMES:
            return place
    return None


def _table(entries: dict[int, int], names: Sequence[str]) -> LabelTable:
    table = torch.full((256,), NO_CLASS, dtype=torch.uint8)
    for value, place in entries.items():
        table[value] = place
    return LabelTable(tuple(names), table)
