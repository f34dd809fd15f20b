"""Reads interactions from an `.npz` file, with all that may lie beside them in it.

Arrays, with N rows, U users, I items, E friendships, T tag assignments:

- `user`, `item` (N,): whole numbers. With an array of U or I rows they are positions in it, from 0
  on; else any numbers.
- `count` or `plays` (N,), `rating` (N,), `time` (N,), `test` and `val` (N,) of true and false:
  each may be absent.
- `user_id` (U,), `item_id` (I,), `item_name` (I,): what they are called.
- `friends` (E, 2): pairs of users.
- `NAME_x` (I, F): the modality NAME; a row of NaN where there is nothing. `acoustic` (I, F) with
  `acoustic_cols` (F,) likewise, but for a column `count`.
- `lyric_indptr` (I + 1,), `lyric_word`, `lyric_count`, and `word` (W,): counts of words, the
  modality `lyrics`.
- `tag_user_item_tag` (T, 3) and `tag_name` (V,): the modality `tags`.
- `emotion` (I, 2): valence and arousal; a row of NaN where nobody says.
- `core_item` (I,) of true and false, for `data.core`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from peerlearn.data.arrays import Array
from peerlearn.data.npz import array_names, not_read, read_arrays
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.feature_files import check_emotion, checked_table
from peerlearn.tasks.recommendation.data.friends import friend_pairs
from peerlearn.tasks.recommendation.data.raw import (
    TEST,
    TRAIN,
    VAL,
    Flags,
    Floats,
    Ints,
    Names,
    Raw,
    Table,
    Tags,
    Texts,
    check_new,
    named,
    numbered,
)

COUNTS = ("count", "plays")
PER_ITEM = ("item_id", "item_name", "core_item", "emotion", "acoustic")
LYRICS = ("lyric_indptr", "lyric_word", "lyric_count")
SUFFIX = "_x"
AVERAGED = "count"
"""A column of `acoustic`: tracks that were averaged, which is nothing that one hears."""

KNOWN = (
    "user", "item", *COUNTS, "rating", "time", "test", "val", "user_id", "friends", *PER_ITEM,
    "acoustic_cols", *LYRICS, "word", "tag_user_item_tag", "tag_name",
)  # fmt: skip


def holds_interactions(path: Path) -> bool:
    """Whether an `.npz` file is of this kind."""
    try:
        return {"user", "item"} <= set(array_names(path))
    except InputError:
        return False


def read_npz(path: Path) -> Raw:
    """The interactions of a file; see the module for its arrays.

    Raises InputError: the file is missing, damaged or holds pickled objects, or an array is wrong;
    names the array and the row.
    """
    where = str(path)
    views = [name for name in array_names(path) if name.endswith(SUFFIX)]
    known = (*KNOWN, *views)
    arrays = read_arrays(path, known)
    for needed in ("user", "item"):
        if needed not in arrays:
            raise InputError(
                f"{where}: array {needed!r} is missing; needed: user and item, a row a pair."
            )
    rows = len(_whole(arrays, "user", where))
    users, user_N = _axis("user", arrays, where, ("user_id",))
    items, item_N = _axis("item", arrays, where, (*PER_ITEM, *views, "lyric_indptr"))
    counted = [name for name in COUNTS if name in arrays]
    if len(counted) > 1:
        raise InputError(f"{where}: holds both 'count' and 'plays'; keep one of them.")
    counts = _column(arrays, counted[0], rows, where) if counted else None
    account = not_read(path, known)
    friends = np.empty((0, 2), np.int64)
    if "friends" in arrays:
        ends = _matrix(arrays, "friends", 2, where)
        friends, told = friend_pairs(users, ends[:, 0].tolist(), ends[:, 1].tolist(),
                                     f"{where}: friends")  # fmt: skip
        account += told
    emotion = None
    if "emotion" in arrays:
        emotion = checked_table(arrays["emotion"], f"{where}: emotion")
        check_emotion(emotion, f"{where}: emotion")
    return Raw(
        where, users, items, user_N, item_N,
        count_N=np.ones(rows) if counts is None else counts,
        place_N=np.arange(rows),
        count_name=counted[0] if counted else "count",
        rating_N=_column(arrays, "rating", rows, where),
        time_N=_column(arrays, "time", rows, where),
        part_N=_parts(arrays, rows, where),
        item_names=_texts(arrays, "item_name", where),
        friends_E2=friends,
        tables=_tables(arrays, views, where),
        bags={"lyrics": _lyrics(arrays, len(items), where)} if "lyric_indptr" in arrays else {},
        tags=_tags(arrays, users, len(items), where),
        emotion_I2=emotion,
        core_I=_flags(arrays, "core_item", len(items), where),
        account=account,
    )  # fmt: skip


def _axis(
    what: str, arrays: Mapping[str, Array], where: str, sized: tuple[str, ...]
) -> tuple[Names, Ints]:
    """Who there is, by the arrays with a row for each, or else by who occurs; and each row's."""
    values = _whole(arrays, what, where)
    if len(values) != len(arrays["user"]):
        raise InputError(f"{where}: {what} has {len(values)} rows; user has {len(arrays['user'])}.")
    there = [name for name in sized if name in arrays]
    if not there:
        return named(what, values.astype(str).tolist())
    for name in there:
        if not arrays[name].ndim or (name == "lyric_indptr" and not len(arrays[name])):
            raise InputError(
                f"{where}: {name}: shape {arrays[name].shape}; allowed: a row for each {what}"
                + (", and one more." if name == "lyric_indptr" else ".")
            )
    lengths = {name: len(arrays[name]) - (name == "lyric_indptr") for name in there}
    count = lengths[there[0]]
    for name, length in lengths.items():
        if length != count:
            raise InputError(
                f"{where}: {name} has {length} rows; {there[0]} has {count}, one for each {what}."
            )
    wrong = np.flatnonzero((values < 0) | (values >= count))
    if len(wrong):
        allowed = f"0 to {count - 1}" if count else "none"
        raise InputError(
            f"{where}, row {wrong[0]}: {what} is {values[wrong[0]]}; allowed: {allowed}, "
            f"for {there[0]} has {count} rows."
        )
    ids = _texts(arrays, f"{what}_id", where)
    if ids is not None:
        known, times = np.unique(ids, return_counts=True)
        if len(twice := np.flatnonzero(times > 1)):
            name = known[twice[0]]
            raise InputError(
                f"{where}: {what}_id: {str(name)!r} stands in rows "
                f"{' and '.join(map(str, np.flatnonzero(ids == name)[:2]))}; allowed: each once."
            )
    return numbered(what, count, ids), values


def _texts(arrays: Mapping[str, Array], name: str, where: str) -> Texts | None:
    """What each of something is called; None where there is no such array."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.dtype.kind not in "iuUS" or array.ndim != 1:
        raise InputError(
            f"{where}: {name}: {array.dtype} of shape {array.shape}; allowed: texts or whole "
            "numbers of shape (N,)."
        )
    if array.dtype.kind != "S":
        return array.astype(str)
    try:
        return np.char.decode(array.astype(np.bytes_), "utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{where}: {name}: holds bytes that are no UTF-8; save texts.") from None


def _whole(arrays: Mapping[str, Array], name: str, where: str) -> Ints:
    """A column of whole numbers, int64."""
    array = arrays[name]
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise InputError(
            f"{where}: {name}: {array.dtype} of shape {array.shape}; allowed: whole numbers of "
            "shape (N,)."
        )
    highest = np.iinfo(np.int64).max
    if array.dtype.kind == "u" and len(large := np.flatnonzero(array.astype("u8") > highest)):
        raise InputError(
            f"{where}: {name}, row {large[0]}: {array[large[0]]}; allowed: below 2 to the 63rd."
        )
    return array.astype(np.int64)


def _matrix(arrays: Mapping[str, Array], name: str, width: int, where: str) -> Ints:
    """Whole numbers with `width` in each row, int64."""
    array = arrays[name]
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != width:
        raise InputError(
            f"{where}: {name}: {array.dtype} of shape {array.shape}; allowed: whole numbers of "
            f"shape (E, {width})."
        )
    return array.astype(np.int64)


def _column(arrays: Mapping[str, Array], name: str, rows: int, where: str) -> Floats | None:
    """Numbers, one a row, float64; None where there is no such array."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.dtype.kind not in "iuf" or array.shape != (rows,):
        raise InputError(
            f"{where}: {name}: {array.dtype} of shape {array.shape}; allowed: numbers of shape "
            f"({rows},), as user."
        )
    return array.astype(np.float64)


def _flags(arrays: Mapping[str, Array], name: str, rows: int, where: str) -> Flags | None:
    if name not in arrays:
        return None
    array = arrays[name]
    fits = array.dtype.kind in "biu" and array.shape == (rows,) and np.isin(array, (0, 1)).all()
    if not fits:
        raise InputError(
            f"{where}: {name}: {array.dtype} of shape {array.shape}; allowed: true and false, or "
            f"0 and 1, of shape ({rows},)."
        )
    return array.astype(bool)


def _parts(arrays: Mapping[str, Array], rows: int, where: str) -> Ints | None:
    """Part of each row by the masks; None without any."""
    test, val = (_flags(arrays, name, rows, where) for name in ("test", "val"))
    if test is None:
        if val is not None:
            raise InputError(f"{where}: array 'val' needs an array 'test' beside it.")
        return None
    part = np.where(test, TEST, TRAIN)
    if val is not None:
        if len(both := np.flatnonzero(test & val)):
            raise InputError(
                f"{where}, row {both[0]}: is in test and in val, as {len(both)} rows are; allowed: "
                "each in one of them at most."
            )
        part[val] = VAL
    return part


def _tables(arrays: Mapping[str, Array], views: list[str], where: str) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    if "acoustic" in arrays:
        x_IF = checked_table(arrays["acoustic"], f"{where}: acoustic")
        titles = arrays.get("acoustic_cols", np.empty(0, str))
        if titles.shape not in ((0,), (x_IF.shape[1],)):
            raise InputError(
                f"{where}: acoustic_cols: shape {titles.shape}; acoustic has {x_IF.shape[1]} "
                "columns."
            )
        sound = titles != AVERAGED if len(titles) else np.ones(x_IF.shape[1], bool)
        tables["acoustic"] = Table(x_IF[:, sound], tuple(titles.astype(str)[sound[: len(titles)]]))
    for view in views:
        name = view.removesuffix(SUFFIX)
        check_new(name, tables, where)
        tables[name] = Table(checked_table(arrays[view], f"{where}: {view}"))
    return tables


def _lyrics(arrays: Mapping[str, Array], items: int, where: str) -> sp.csr_array:
    """Counts of words of items (I, W)."""
    for name in LYRICS:
        if name not in arrays:
            raise InputError(f"{where}: array {name!r} is missing, but there is 'lyric_indptr'.")
    start, word, count = (_whole(arrays, name, where) for name in LYRICS)
    steps = np.diff(start)
    if start[0] != 0 or start[-1] != len(word) or len(word) != len(count) or (steps < 0).any():
        raise InputError(
            f"{where}: lyric_indptr: does not divide the {len(word)} rows of lyric_word and the "
            f"{len(count)} of lyric_count; allowed: ascending, from 0 to their number."
        )
    word, names = _named(word, _texts(arrays, "word", where), f"{where}: lyric_word")
    if len(low := np.flatnonzero(count < 0)):
        raise InputError(
            f"{where}: lyric_count, row {low[0]}: {count[low[0]]}; allowed: 0 and more."
        )
    return sp.csr_array((count.astype(np.float64), word, start), shape=(items, len(names)))


def _tags(arrays: Mapping[str, Array], users: Names, items: int, where: str) -> Tags | None:
    if "tag_user_item_tag" not in arrays:
        return None
    said = f"{where}: tag_user_item_tag"
    user, item, tag = _matrix(arrays, "tag_user_item_tag", 3, where).T
    _check_range(item, items, f"{said}, column 1")
    tag, names = _named(tag, _texts(arrays, "tag_name", where), f"{said}, column 2")
    if "user_id" in arrays:
        _check_range(user, len(users), f"{said}, column 0")
        return Tags(user, item, tag, names)
    return Tags(users.positions(user.tolist()), item, tag, names)


def _named(values: Ints, names: Texts | None, said: str) -> tuple[Ints, Texts]:
    """(positions in names, names): of numbers without names those that occur, however large."""
    if names is not None:
        _check_range(values, len(names), said)
        return values, names
    _check_range(values, np.iinfo(np.int64).max, said)
    numbers, place = np.unique(values, return_inverse=True)
    return place.reshape(-1).astype(np.int64), numbers.astype(str)


def _check_range(values: Ints, count: int, said: str) -> None:
    if len(wrong := np.flatnonzero((values < 0) | (values >= count))):
        allowed = f"0 to {count - 1}" if count else "none, for there are no names"
        raise InputError(f"{said}, row {wrong[0]}: {values[wrong[0]]}; allowed: {allowed}.")
