"""Friendships: each once, between two people who are there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from peerlearn.data.account import Account, LeftOut, counted
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.delimited import read_columns
from peerlearn.tasks.recommendation.data.raw import NOBODY, Ints, Names

COLUMNS = ("user", "friend")


def read_friends(path: Path, users: Names) -> tuple[Ints, Account]:
    """(friends_E2, account) of a csv with the columns user and friend.

    Raises InputError: no such table, or none of its pairs is between users of the interactions.
    """
    table = read_columns(path, COLUMNS)
    ends = [table.texts(column) for column in COLUMNS]
    return friend_pairs(users, ends[0], ends[1], str(path))


def friend_pairs(
    users: Names, first: Sequence[object], second: Sequence[object], where: str
) -> tuple[Ints, Account]:
    """(friends_E2, account): int64 (E, 2), each pair once, the smaller number first.

    Both directions of a pair mean one friendship. Friendships of somebody with themselves, and
    those of users whom the interactions do not have, are left out.

    Raises InputError: no pair at all, or none between two known users.
    """
    if not len(first):
        raise InputError(f"{where}: holds no friendships; leave it away where there are none.")
    ends = np.stack([users.positions(first), users.positions(second)], 1)
    unknown = (ends == NOBODY).any(1)
    if unknown.all():
        raise InputError(
            f"{where}: none of {counted(len(ends), 'friendship')} is between two users of the "
            f"interactions; the first is {first[0]} - {second[0]}, and users are called "
            f"{users.keys[0]}, {users.keys[-1]} and the like."
        )
    loops = ends[:, 0] == ends[:, 1]
    alone = loops & ~unknown
    known = np.sort(ends[~unknown & ~loops], 1)
    pairs = np.unique(known, axis=0)
    rows = np.flatnonzero(unknown).tolist()
    strangers = tuple(f"{first[row]} - {second[row]}" for row in rows)
    left = (LeftOut("friendships of unknown users", strangers),) if strangers else ()
    notes = [f"friends: {counted(len(ends), 'row')}, {counted(len(pairs), 'friendship')}"]
    if alone.any():
        own = counted(int(alone.sum()), "friendship")
        notes.append(f"friends: {own} of a user with themselves, left out")
    return pairs, Account(left_out=left, notes=tuple(notes))
