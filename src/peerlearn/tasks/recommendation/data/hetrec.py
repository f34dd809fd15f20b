"""Reads the folder of HetRec 2011 Last.fm 2k, as its authors publish it.

Cantador, Brusilovsky & Kuflik (2011), "Second workshop on information heterogeneity and fusion in
recommender systems"; for non-commercial use. Tab-separated files with a header each:
`user_artists.dat` (userID, artistID, weight), `user_friends.dat` (userID, friendID),
`artists.dat` (id, name, …), `tags.dat` (tagID, tagValue), `user_taggedartists.dat` (userID,
artistID, tagID, …). All but the first may be absent.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from peerlearn.data.account import Account, counted
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.delimited import Columns, read_columns
from peerlearn.tasks.recommendation.data.friends import friend_pairs
from peerlearn.tasks.recommendation.data.raw import NOBODY, Names, Raw, Tags, named

LISTENS, FRIENDS, ARTISTS = "user_artists.dat", "user_friends.dat", "artists.dat"
TAG_NAMES, TAGGED = "tags.dat", "user_taggedartists.dat"


def is_hetrec(folder: Path) -> bool:
    """Whether a folder holds this layout."""
    return (folder / LISTENS).is_file()


def read_hetrec(folder: Path) -> Raw:
    """Listens with their counts, friends, names of artists, and tags.

    Raises InputError: a file is no such table; names it and the line.
    """
    table = _table(folder / LISTENS, ("userID", "artistID", "weight"))
    users, user_N = named("user", table.texts("userID"))
    items, item_N = named("item", table.texts("artistID"))
    account = Account()
    friends = np.empty((0, 2), np.int64)
    if (path := folder / FRIENDS).exists():
        ends = _table(path, ("userID", "friendID"))
        friends, told = friend_pairs(users, ends.texts("userID"), ends.texts("friendID"), str(path))
        account += told
    tags, told = _tags(folder, users, items)
    return Raw(
        str(folder / LISTENS), users, items, user_N, item_N,
        count_N=table.numbers("weight"),
        place_N=table.line,
        row="line",
        count_name="weight",
        item_names=_titles(folder / ARTISTS, items),
        friends_E2=friends,
        tags=tags,
        account=account + told,
    )  # fmt: skip


def _table(path: Path, needed: Sequence[str]) -> Columns:
    # Names of artists are UTF-8 and hold quotes, names of tags Latin-1; not all have a picture.
    return read_columns(
        path, needed, "\t", quoted=False, encodings=("utf-8-sig", "latin-1"), padded=True
    )


def _titles(path: Path, items: Names) -> np.ndarray | None:
    if not path.exists():
        return None
    table = _table(path, ("id", "name"))
    titles = dict(zip(table.texts("id"), table.said("name"), strict=True))
    return np.array([titles.get(key) or key for key in items.keys.tolist()])


def _tags(folder: Path, users: Names, items: Names) -> tuple[Tags | None, Account]:
    """Assignments to artists that somebody listens to."""
    if not (folder / TAGGED).exists():
        return None, Account()
    table = _table(folder / TAGGED, ("userID", "artistID", "tagID"))
    tag_names, tag = named("tag", table.texts("tagID"))
    names = tag_names.ids
    if (folder / TAG_NAMES).exists():
        titles = _table(folder / TAG_NAMES, ("tagID", "tagValue"))
        called = dict(zip(titles.texts("tagID"), titles.said("tagValue"), strict=True))
        names = np.array([called.get(key) or key for key in tag_names.keys.tolist()])
    item = items.positions(table.texts("artistID"))
    tags = Tags(users.positions(table.texts("userID")), item, tag, names)
    known = item != NOBODY
    if not known.any():
        raise InputError(f"{folder / TAGGED}: tags no artist of {LISTENS}.")
    notes = [] if known.all() else [
        f"{TAGGED}: {counted(int((~known).sum()), 'assignment')} to artists without listeners "
        "left out"
    ]  # fmt: skip
    return tags.select(known), Account(notes=tuple(notes))
