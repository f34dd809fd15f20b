"""Interactions each once, and only those that were asked for; what falls away is told."""

from dataclasses import replace
from typing import Any

import numpy as np

from peerlearn.data.account import Account, counted
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.raw import NOBODY, PARTS, Flags, Floats, Ints, Raw
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec


def cleaned(raw: Raw, spec: RecommendationDataSpec) -> Raw:
    """Checked, merged, and cut to `min_value`, `core` and `k_core`, in this order.

    Raises InputError: values that are no counts, ratings or times; a pair in two parts; nothing,
    or a single item, left.
    """
    _check(raw)
    raw = _without_zero_counts(raw)
    by_rating = raw.rating_N is not None
    if by_rating:
        raw = _of_value(raw, raw.rating_N, "rating", spec)
    raw = merged(raw)
    if not by_rating:
        raw = _of_value(raw, raw.count_N, raw.count_name, spec)
    if spec.core:
        if raw.core_I is None:
            raise InputError(
                f"data.core: {raw.where} names no core; it is the array core_item of an .npz."
            )
        raw = _told(raw, _with_history(subset(raw, items=raw.core_I)), "data.core")
    if spec.k_core:
        raw = _told(raw, _core(raw, spec.k_core), f"data.k_core={spec.k_core}")
    _check_enough(raw)
    return raw


def merged(raw: Raw) -> Raw:
    """Each pair of a user and an item once, ordered by both: counts added, the earliest time.

    Raises InputError: the rows of a pair are in several parts.
    """
    pair = raw.user_N * len(raw.items) + raw.item_N
    _, first, group = np.unique(pair, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    twice = len(pair) - len(first)
    if raw.part_N is not None:
        apart = np.flatnonzero(raw.part_N != raw.part_N[first][group])
        if len(apart):
            row, other = int(apart[0]), int(first[group[apart[0]]])
            user, item = raw.users.ids[raw.user_N[row]], raw.items.ids[raw.item_N[row]]
            raise InputError(
                f"{raw.at(row)}: user {user} and item {item} are in {PARTS[raw.part_N[row]]}, and "
                f"in {PARTS[raw.part_N[other]]} in {raw.row} {raw.place_N[other]}; allowed: a pair "
                "in one part."
            )
    time = raw.time_N
    if time is not None:
        earliest = np.full(len(first), np.inf)
        np.minimum.at(earliest, group, time)
        time = earliest
    raw = replace(
        rows_of(raw, first),
        count_N=np.bincount(group, weights=raw.count_N, minlength=len(first)),
        time_N=time,
    )
    if not twice:
        return raw
    return _noted(raw, f"{counted(twice, 'interaction')} of a pair that was there before: merged, "
                  "counts added")  # fmt: skip


def subset(raw: Raw, users: Flags | None = None, items: Flags | None = None) -> Raw:
    """What concerns the users (U,) and items (I,) that are kept, numbered anew."""
    users = np.ones(len(raw.users), bool) if users is None else users
    items = np.ones(len(raw.items), bool) if items is None else items
    user, item = (np.where(keep, np.cumsum(keep) - 1, NOBODY) for keep in (users, items))
    raw = rows_of(raw, np.flatnonzero(users[raw.user_N] & items[raw.item_N]))
    friends = user[raw.friends_E2]
    tags = raw.tags
    if tags is not None:
        tags = tags.select(items[tags.item])
        known = np.where(tags.user == NOBODY, NOBODY, user[tags.user])
        tags = replace(tags, user=known, item=item[tags.item])
    return replace(
        raw,
        users=raw.users.kept(users),
        items=raw.items.kept(items),
        user_N=user[raw.user_N],
        item_N=item[raw.item_N],
        item_names=None if raw.item_names is None else raw.item_names[items],
        friends_E2=friends[(friends != NOBODY).all(1)],
        tables={name: replace(it, x_IF=it.x_IF[items]) for name, it in raw.tables.items()},
        bags={name: counts[np.flatnonzero(items)] for name, counts in raw.bags.items()},
        tags=tags,
        emotion_I2=None if raw.emotion_I2 is None else raw.emotion_I2[items],
        core_I=None if raw.core_I is None else raw.core_I[items],
    )


def _check(raw: Raw) -> None:
    """See that there are rows, and that their numbers mean something."""
    if not len(raw.user_N):
        raise InputError(f"{raw.where}: holds no interactions.")
    columns = ((raw.count_name, raw.count_N), ("rating", raw.rating_N), ("time", raw.time_N))
    for name, values in columns:
        if values is None:
            continue
        if not (finite := np.isfinite(values)).all():
            row = int(np.flatnonzero(~finite)[0])
            raise InputError(f"{raw.at(row)}: {name} is {values[row]}; allowed: numbers.")
    if (raw.count_N < 0).any():
        row = int(np.flatnonzero(raw.count_N < 0)[0])
        raise InputError(
            f"{raw.at(row)}: {raw.count_name} is {raw.count_N[row]:g}; allowed: 0 and more."
        )


def _check_enough(raw: Raw) -> None:
    items = len(np.unique(raw.item_N))
    if items < 2:
        left = f"{counted(len(raw.user_N), 'interaction')} with {counted(items, 'item')}"
        raise InputError(f"{raw.where}: {left}; to rank items, two are needed at least.")


def _without_zero_counts(raw: Raw) -> Raw:
    zero = raw.count_N == 0
    if not zero.any():
        return raw
    said = f"{counted(int(zero.sum()), 'row')} with {raw.count_name} 0: left out"
    return _noted(rows_of(raw, np.flatnonzero(~zero)), said)


def _of_value(raw: Raw, values: Floats | None, name: str, spec: RecommendationDataSpec) -> Raw:
    """Rows of `min_value` and more."""
    if spec.min_value is None or values is None:
        return raw
    low = values < spec.min_value
    if low.all():
        raise InputError(
            f"data.min_value: {spec.min_value:g} leaves nothing of {raw.where}, where {name} "
            f"goes up to {values.max():g}."
        )
    said = f"data.min_value: {counted(int(low.sum()), 'row')} with {name} below " \
        f"{spec.min_value:g} left out"  # fmt: skip
    return _noted(rows_of(raw, np.flatnonzero(~low)), said)


def _core(raw: Raw, least: int) -> Raw:
    """The k-core: every user and item with `least` pairs, by leaving out others until none is."""
    while len(raw.user_N):
        users = np.bincount(raw.user_N, minlength=len(raw.users)) >= least
        items = np.bincount(raw.item_N, minlength=len(raw.items)) >= least
        if users.all() and items.all():
            return raw
        raw = subset(raw, users, items)
    raise InputError(
        f"data.k_core: {least} leaves nothing of {raw.where}; choose a smaller one, or 0."
    )


def _with_history(raw: Raw) -> Raw:
    return subset(raw, np.bincount(raw.user_N, minlength=len(raw.users)) > 0)


def _told(before: Raw, after: Raw, why: str) -> Raw:
    """`after`, with what has fallen away since `before`."""
    pairs = [
        counted(len(of(before)) - len(of(after)), thing)
        for of, thing in (
            (lambda it: it.users, "user"),
            (lambda it: it.items, "item"),
            (lambda it: it.user_N, "interaction"),
        )
    ]
    return _noted(after, f"{why}: {pairs[0]}, {pairs[1]} and {pairs[2]} left out")


def rows_of(raw: Raw, rows: Ints) -> Raw:
    """Some rows, int64 positions, in their order."""
    names = ("user_N", "item_N", "count_N", "place_N", "rating_N", "time_N", "part_N")
    columns = {name: getattr(raw, name) for name in names}
    kept: dict[str, Any] = {name: None if it is None else it[rows] for name, it in columns.items()}
    return replace(raw, **kept)


def _noted(raw: Raw, said: str) -> Raw:
    return replace(raw, account=raw.account + Account(notes=(said,)))
