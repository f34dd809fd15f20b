"""What every reader hands on: interactions as they stand in files, and what is beside them.

Shape suffixes: N rows, U users, I items, E friendships, T tag assignments, F features, W words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peerlearn.data.account import EMPTY, Account
from peerlearn.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[Any]
Flags = NDArray[Any]
Texts = NDArray[Any]
PARTS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
NOBODY = -1
NONE, ALL, BESIDE = "none", "all", "+"
"""What `modality` says of no modality and of all of them, and what it puts between several."""


@dataclass(frozen=True)
class Names:
    """What users or items are called, by number.

    Attributes:
        what: "user" or "item".
        keys: (M,) texts by which the files refer to them.
        ids: (M,) texts by which they are shown.
    """

    what: str
    keys: Texts
    ids: Texts

    def __len__(self) -> int:
        return len(self.keys)

    def positions(self, found: Iterable[object]) -> Ints:
        """Their numbers, int64; `NOBODY` for those that are not among them."""
        place = {key: number for number, key in enumerate(self.keys.tolist())}
        return np.array([place.get(str(each), NOBODY) for each in found], np.int64)

    def kept(self, keep: Flags) -> "Names":
        """Those that a mask keeps, numbered anew."""
        return Names(self.what, self.keys[keep], self.ids[keep])


def numbered(what: str, count: int, ids: Texts | None = None) -> Names:
    """Names of `count` users or items to which files refer by number."""
    keys = np.arange(count).astype(str)
    return Names(what, keys, keys if ids is None else ids.astype(str))


def named(what: str, found: Sequence[str]) -> tuple[Names, Ints]:
    """(names, the number of each): numbered in the order of their ids, whatever that of rows.

    Ids that are all whole numbers are ordered as such, others as texts.
    """
    keys, place = np.unique(np.array(found, dtype=str), return_inverse=True)
    if np.char.isdigit(keys).all():
        order = np.lexsort((keys, np.char.str_len(keys)))
        keys, place = keys[order], np.argsort(order)[place]
    return Names(what, keys, keys), place.reshape(-1).astype(np.int64)


@dataclass(frozen=True)
class Tags:
    """Who called which item what.

    Shapes:
        user, item, tag: int64 (T,); a user that the interactions do not have is `NOBODY`.
        names: (V,) texts.
    """

    user: Ints
    item: Ints
    tag: Ints
    names: Texts

    def select(self, keep: Flags) -> "Tags":
        """Those that a mask (T,) keeps."""
        return Tags(self.user[keep], self.item[keep], self.tag[keep], self.names)


@dataclass(frozen=True)
class Table:
    """A modality as it was given.

    Shapes:
        x_IF: float, rows of NaN where there is nothing.
        columns: names of the features; empty where they have none.
    """

    x_IF: Floats
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Raw:
    """A log of interactions and everything beside it, before any choice.

    Attributes:
        where: the file, for messages.
        users, items: what they are called.
        user_N, item_N: int64, numbers.
        count_N: float64, how often.
        count_name: what the file calls it.
        rating_N, time_N: float64; None where the data have none.
        part_N: int8, `TRAIN`, `VAL` or `TEST`; None where the data do not say.
        place_N: int64, where a row stands, as people count in such a file.
        row: what is counted there, "row" or "line".
        item_names: (I,) titles; None where there are none.
        friends_E2: int64, any order, repeated or not; ends that nobody has are left out.
        tables: modalities by name.
        bags: counts of words (I, W), sparse, by name of the modality.
        tags: a modality of that name is made of them.
        emotion_I2: valence and arousal, NaN where nobody says; None where the data have none.
        core_I: items of a dense core; None where the data name none.
        account: what was read, and what was left out.
    """

    where: str
    users: Names
    items: Names
    user_N: Ints
    item_N: Ints
    count_N: Floats
    place_N: Ints
    row: str = "row"
    count_name: str = "count"
    rating_N: Floats | None = None
    time_N: Floats | None = None
    part_N: NDArray[Any] | None = None
    item_names: Texts | None = None
    friends_E2: Ints = field(default_factory=lambda: np.empty((0, 2), np.int64))
    tables: Mapping[str, Table] = field(default_factory=dict)
    bags: Mapping[str, Any] = field(default_factory=dict)
    tags: Tags | None = None
    emotion_I2: Floats | None = None
    core_I: Flags | None = None
    account: Account = EMPTY

    def at(self, row: int) -> str:
        """A row in words, for messages."""
        return f"{self.where}, {self.row} {self.place_N[row]}"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of all that items have, in their order."""
        return (*(("tags",) if self.tags is not None else ()), *self.bags, *self.tables)


def check_new(name: str, known: Iterable[str], where: str) -> None:
    """InputError where two files or arrays bring a modality of the same name, or a name is none."""
    if name in ("", NONE, ALL) or BESIDE in name:
        raise InputError(
            f"{where}: a modality {name!r}; allowed: a name without {BESIDE!r}, which puts "
            f"modalities side by side, and not {NONE!r} or {ALL!r}, which stand for none and all."
        )
    if name in known:
        raise InputError(f"{where}: a second modality {name!r}; rename one of them.")
