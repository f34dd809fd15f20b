"""Which pairs train, select and test: given by the data, or a function of a seed and the data.

Pairs are taken in the order of users and items, so that the order of rows in a file is of no
consequence. Test is drawn first and does not depend on `val_share`.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from peerlearn.data.account import Account, counted
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.recommendation.data.raw import (
    PARTS,
    TEST,
    TRAIN,
    VAL,
    Floats,
    Ints,
    Raw,
)
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec

Parts = NDArray[np.int8]
SHARE, SHARE_OF_GIVEN = 0.1, 0.125
FEW = 3
"""Items of a user below which all of them train, where each user's items are divided."""


def divided(raw: Raw, spec: RecommendationDataSpec) -> tuple[Parts, Account]:
    """(part_N, account): `TRAIN`, `VAL` or `TEST` of every pair.

    Splits, after which no pair is in two parts:

    - given: as the data say. Where they name no validation, each user gives `val_share` of their
      training items to it, rounded, and keeps one at least: of up to three items, none.
    - random: `test_share` and `val_share` of all pairs.
    - per_user: of the items of every user, rounded, one at least and one left to train; who has
      fewer than three items has them in train alone.
    - temporal: the latest `test_share` of all pairs, and the latest `val_share` of those before.
      Pairs of equal time stay together, in the later part.
    - cold_user, cold_item: all pairs of `test_share` of the users or items; likewise val.

    With a `val_share` of 0 val has no pair, and train has those that the data name for val too.

    Args:
        raw: with each pair once, ordered by user and item.

    Raises InputError: the data lack what the split needs, a share has no meaning in it, or a part
    has no pair.
    """
    given = raw.part_N is not None
    split = spec.split if spec.split != "auto" else ("given" if given else "per_user")
    notes: list[str] = []
    if split == "given":
        part_N = _given(raw, spec, notes)
    else:
        test, val = (SHARE if it == "auto" else it for it in (spec.test_share, spec.val_share))
        if test + val >= 1:
            raise InputError(
                f"data.test_share: {test:g} and data.val_share: {val:g} leave nothing to train on."
            )
        part_N = DRAWN[split](raw, test, val, spec.split_seed, notes)
        if given:
            notes.append("the split of the data is not used")
    if spec.val_share == 0:
        part_N[part_N == VAL] = TRAIN
    counts = np.bincount(part_N, minlength=len(PARTS))
    for part, count in zip(PARTS, counts, strict=True):
        if not count and not (part == "val" and spec.val_share == 0):
            raise InputError(
                f"data.split: {split} leaves no pair of {raw.where} for {part}; choose another "
                "split, or other shares."
            )
    each = ", ".join(f"{part} {count:,}" for part, count in zip(PARTS, counts, strict=True))
    drawn = "" if split in ("given", "temporal") else f", split_seed {spec.split_seed}"
    return part_N, Account(notes=(f"split {split}{drawn}: {each}", *notes))


def _given(raw: Raw, spec: RecommendationDataSpec, notes: list[str]) -> Parts:
    if raw.part_N is None:
        raise InputError(
            f"data.split: given, but {raw.where} names no test; allowed: {', '.join(DRAWN)}."
        )
    if spec.test_share != "auto":
        raise InputError(
            f"data.test_share: {spec.test_share:g}, but {raw.where} brings its own test; leave it "
            f"away, or choose data.split: {', '.join(DRAWN)}."
        )
    part_N = raw.part_N.copy()
    if (part_N == VAL).any():
        if spec.val_share != "auto" and spec.val_share > 0:
            raise InputError(
                f"data.val_share: {spec.val_share:g}, but {raw.where} brings its own validation; "
                "leave it away."
            )
        return part_N
    share = SHARE_OF_GIVEN if spec.val_share == "auto" else spec.val_share
    rows = np.flatnonzero(part_N == TRAIN)
    rank, size = _ranked(raw.user_N[rows], _chance(spec.split_seed, "val", len(rows)))
    part_N[rows[rank < np.minimum(_rounded(share, size), size - 1)]] = VAL
    if share:
        notes.append(
            f"no val: {share:g} of each user's training items held out for it, split_seed "
            f"{spec.split_seed}"
        )
    return part_N


def _random(raw: Raw, test: float, val: float, seed: int, notes: list[str]) -> Parts:
    return _in_order(_chance(seed, "random", len(raw.user_N)), test, val)


def _per_user(raw: Raw, test: float, val: float, seed: int, notes: list[str]) -> Parts:
    rank, size = _ranked(raw.user_N, _chance(seed, "per_user", len(raw.user_N)))
    enough = size >= FEW
    tests = np.where(enough, _rounded(test, size).clip(1, (size - 2).clip(1)), 0)
    vals = np.where(enough, _rounded(val, size).clip(1, (size - tests - 1).clip(1)), 0)
    if not enough.all():
        few = len(np.unique(raw.user_N[~enough]))
        notes.append(f"{counted(few, 'user')} with fewer than {FEW} items: in train alone")
    parts = np.where(rank < tests, TEST, np.where(rank < tests + vals, VAL, TRAIN))
    return parts.astype(np.int8)


def _temporal(raw: Raw, test: float, val: float, seed: int, notes: list[str]) -> Parts:
    time = raw.time_N
    if time is None:
        raise InputError(
            f"data.split: temporal, but {raw.where} has no times; allowed: "
            f"{', '.join(name for name in DRAWN if name != 'temporal')}."
        )
    ordered, pairs = np.sort(time), len(time)
    tests, vals = (int(_rounded(share, np.array(pairs)).clip(1)) for share in (test, val))
    first_test, first_val = (ordered[max(0, pairs - count)] for count in (tests, tests + vals))
    parts = np.where(time >= first_test, TEST, np.where(time >= first_val, VAL, TRAIN))
    return parts.astype(np.int8)


def _cold_user(raw: Raw, test: float, val: float, seed: int, notes: list[str]) -> Parts:
    return _cold(raw.user_N, test, val, _chance(seed, "cold_user", len(raw.users)))


def _cold_item(raw: Raw, test: float, val: float, seed: int, notes: list[str]) -> Parts:
    return _cold(raw.item_N, test, val, _chance(seed, "cold_item", len(raw.items)))


DRAWN: Mapping[str, Callable[[Raw, float, float, int, list[str]], Parts]] = {
    "random": _random,
    "per_user": _per_user,
    "temporal": _temporal,
    "cold_user": _cold_user,
    "cold_item": _cold_item,
}


def _cold(owner_N: Ints, test: float, val: float, chance: Floats) -> Parts:
    """The part of each pair is that of its owner, of whom some are drawn for test and val."""
    there, place = np.unique(owner_N, return_inverse=True)
    return _in_order(chance[there], test, val)[place.reshape(-1)]


def _in_order(chance_M: Floats, test: float, val: float) -> Parts:
    """Those with the lowest chances for test, the next for val; one of each at least."""
    count = np.array(len(chance_M))
    tests, vals = (int(_rounded(share, count).clip(1)) for share in (test, val))
    part = np.full(len(chance_M), TRAIN, np.int8)
    order = np.argsort(chance_M, kind="stable")
    part[order[:tests]] = TEST
    part[order[tests : tests + vals]] = VAL
    return part


def _ranked(user_N: Ints, chance_N: Floats) -> tuple[Ints, Ints]:
    """(rank of each pair among those of its user by chance, how many these are), int64 (N,)."""
    order = np.lexsort((chance_N, user_N))
    size = np.bincount(user_N)
    start = np.cumsum(size) - size
    rank = np.empty(len(user_N), np.int64)
    rank[order] = np.arange(len(user_N)) - start[user_N[order]]
    return rank, size[user_N]


def _rounded(share: float, size: Ints) -> Ints:
    """`share` of sizes, halves up."""
    return np.floor(share * size + 0.5).astype(np.int64)


def _chance(seed: int, what: str, count: int) -> Floats:
    generator = keyed_generator(seed, "interactions", what)
    return torch.rand(count, generator=generator, dtype=torch.float64).numpy()
