"""What a reader found, what it left out and how it read values: nothing is dropped in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NAMED = 5
"""Names that are told of what was left out; the others are counted."""


@dataclass(frozen=True)
class LeftOut:
    """Files or rows that were not used.

    Attributes:
        reason: in a few words, "hidden" or "damaged".
        names: of the files, relative to what was read.
    """

    reason: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """What a reader found. Two of them add up.

    Attributes:
        files: how many files were read, by part.
        left_out: what was not read, by reason.
        notes: sentences about decisions: how values were read, what was cut off.
    """

    files: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Account") -> "Account":
        files = {part: 0 for account in (self, other) for part in account.files}
        names: dict[str, dict[str, None]] = {}
        for account in (self, other):
            for part, count in account.files.items():
                files[part] += count
            for left_out in account.left_out:
                names.setdefault(left_out.reason, {}).update(dict.fromkeys(left_out.names))
        left = (LeftOut(reason, tuple(each)) for reason, each in names.items())
        return Account(files, tuple(left), tuple(dict.fromkeys([*self.notes, *other.notes])))

    def lines(self) -> list[str]:
        """What is told of the data, a sentence a line; empty where there is nothing to say."""
        lines = []
        if self.files:
            each = ", ".join(f"{part} {count:,}" for part, count in self.files.items())
            lines.append(f"read {counted(sum(self.files.values()), 'file')}: {each}")
        for left_out in self.left_out:
            names = left_out.names
            lines.append(f"left out {len(names):,} ({left_out.reason}): {some(names)}")
        return lines + list(self.notes)


EMPTY = Account()
"""Of data of which there is nothing to say."""


def counted(count: int, thing: str) -> str:
    """A number with the thing that it counts, whose plural takes an s: "1 file", "2 files"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def some(names: Sequence[str], most: int = NAMED) -> str:
    """The first of several names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
