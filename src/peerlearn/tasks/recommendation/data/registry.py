"""Finds interactions by name or path, and makes a data set of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from peerlearn.data.account import Account, counted, some
from peerlearn.data.catalogue import Catalogue, Known, npz_at, roots
from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.recommendation.data.cleaning import cleaned, rows_of
from peerlearn.tasks.recommendation.data.dataset import Interactions, RecommendationDataset
from peerlearn.tasks.recommendation.data.feature_files import read_emotion, read_features
from peerlearn.tasks.recommendation.data.friends import read_friends
from peerlearn.tasks.recommendation.data.hetrec import is_hetrec, read_hetrec
from peerlearn.tasks.recommendation.data.mmrec import read_mmrec
from peerlearn.tasks.recommendation.data.modalities import described
from peerlearn.tasks.recommendation.data.npz import holds_interactions, read_npz
from peerlearn.tasks.recommendation.data.raw import PARTS, TRAIN, Flags, Raw, check_new
from peerlearn.tasks.recommendation.data.recbole import is_recbole, read_recbole
from peerlearn.tasks.recommendation.data.spec import RecommendationDataSpec, WorldSpec
from peerlearn.tasks.recommendation.data.splits import Parts, divided
from peerlearn.tasks.recommendation.data.synthetic import SYNTHETIC, raw_world
from peerlearn.tasks.recommendation.data.tables import read_table

MUSIC, LASTFM = "music", "lastfm"
BESIDE = "_features"
"""Of `NAME.npz`, `NAME_features.npz` in the same folder holds more features."""

FORMS = (
    "a csv with columns user, item; an .inter file of RecBole or MMRec, or a folder with one; the "
    "folder of HetRec Last.fm"
)


def load_recommendation(spec: RecommendationDataSpec) -> RecommendationDataset:
    """The data set that a `data` block asks for.

    A name is `synthetic`, or `ROOT/NAME.npz` or `ROOT/music/NAME.npz`, such as `lastfm`; anything
    else is the path of a file or folder, see the README beside this file.

    Raises InputError: no such data, or something in it is wrong; names the file, the column or
    array, and the row.
    """
    if spec.name == SYNTHETIC:
        raw = raw_world(spec.world or WorldSpec())
    elif spec.world is not None:
        raise InputError(f"data.world: makes the data set {SYNTHETIC}; {spec.name} is another.")
    else:
        raw = RECOMMENDATION_SETS.read(spec.name, spec.root, read_path)
    raw = cleaned(_with_files(raw, spec), spec)
    part_N, division = divided(raw, spec)
    raw, part_N = _kept(raw, part_N, spec)
    items = described(raw, part_N, spec)
    account = raw.account + division + items.account + Account(notes=tuple(_odd(raw, part_N)))
    train, val, test = (_interactions(raw, part_N == part) for part in range(len(PARTS)))
    return RecommendationDataset(
        spec.short_name,
        raw.users.ids,
        raw.items.ids,
        raw.items.ids if raw.item_names is None else raw.item_names,
        train=train,
        val=val,
        test=test,
        friends_2E=torch.from_numpy(np.ascontiguousarray(raw.friends_E2.T)),
        modalities=items.modalities,
        emotion_I2=items.emotion_I2,
        account=account,
    )


def read_path(path: Path) -> Raw:
    """The interactions of a file or folder, as they stand there.

    Raises InputError: as `load_recommendation`.
    """
    if path.is_dir():
        if is_hetrec(path):
            return read_hetrec(path)
        found = sorted(path.glob("*.inter"))
        if len(found) == 1:
            return read_path(found[0])
        what = f"has several: {some([it.name for it in found])}; give one of them" if found else (
            f"holds no interactions; expected {FORMS}"
        )  # fmt: skip
        raise InputError(f"data.name: {path}: {what}.")
    suffix = path.suffix.lower()
    if suffix == ".inter" and path.is_file():
        return read_recbole(path) if is_recbole(path) else read_mmrec(path)
    if suffix in (".csv", ".tsv"):
        return read_table(path)
    raw = read_npz(npz_at(path, FORMS))
    beside = path.with_name(f"{path.stem}{BESIDE}{path.suffix}")
    if not beside.is_file():
        return raw
    raw = _with_features(raw, str(beside))
    told = Account(notes=(f"{beside.name}, which lies beside it, is read too",))
    return replace(raw, account=raw.account + told)


def _kept(raw: Raw, part_N: Parts, spec: RecommendationDataSpec) -> tuple[Raw, Parts]:
    """Without the training pairs that `train_size` leaves out; users and items stay.

    Raises InputError: there are not so many.
    """
    if spec.train_size is None:
        return raw, part_N
    (train_N,) = np.nonzero(part_N == TRAIN)
    if spec.train_size > len(train_N):
        raise InputError(
            f"data.train_size: {spec.train_size:,} pairs asked for; allowed: up to "
            f"{len(train_N):,}, all of train."
        )
    generator = keyed_generator(spec.split_seed, "kept pairs")
    order = torch.randperm(len(train_N), generator=generator).numpy()
    left = np.ones(len(part_N), bool)
    left[train_N[order[spec.train_size :]]] = False
    told = Account(notes=(f"train: {spec.train_size:,} of {len(train_N):,} pairs are kept",))
    raw = rows_of(raw, left.nonzero()[0])
    return replace(raw, account=raw.account + told), part_N[left]


def _with_files(raw: Raw, spec: RecommendationDataSpec) -> Raw:
    """What the files say that `friends`, `features` and `emotion` name."""
    for path in spec.feature_paths:
        raw = _with_features(raw, path)
    if spec.friends is not None:
        friends, told = read_friends(Path(spec.friends).expanduser(), raw.users)
        raw = replace(raw, friends_E2=friends, account=raw.account + told)
    if spec.emotion is not None:
        emotion, told = read_emotion(spec.emotion, raw.items)
        raw = replace(raw, emotion_I2=emotion, account=raw.account + told)
    return raw


def _with_features(raw: Raw, path: str) -> Raw:
    tables, told = read_features(path, raw.items)
    for name in tables:
        check_new(name, raw.modalities, path)
    return replace(raw, tables={**raw.tables, **tables}, account=raw.account + told)


def _interactions(raw: Raw, chosen: Flags) -> Interactions:
    columns = (raw.user_N[chosen], raw.item_N[chosen], raw.count_N[chosen].astype(np.float32))
    return Interactions(*map(torch.from_numpy, columns))


def _odd(raw: Raw, part_N: Parts) -> list[str]:
    """Counts that show where data are not what they were meant to be; all of these are kept."""
    users, items, pairs = len(raw.users), len(raw.items), len(raw.user_N)
    notes = [
        f"{counted(users, 'user')}, {counted(items, 'item')}, {counted(pairs, 'interaction')}, "
        f"{counted(len(raw.friends_E2), 'friendship')}"
    ]
    for owner_N, count, thing in ((raw.user_N, users, "user"), (raw.item_N, items, "item")):
        there, trained = np.zeros(count, bool), np.zeros(count, bool)
        there[owner_N] = True
        trained[owner_N[part_N == TRAIN]] = True
        for number, said in (
            (int((~there).sum()), "without any interaction"),
            (int((there & ~trained).sum()), "in val or test and not in train"),
        ):
            if number:
                notes.append(f"{counted(number, thing)} {said}: kept")
    return notes


# The catalogue ---------------------------------------------------------------------------------


def _not_there(root: str | None) -> NoReturn:
    raise InputError(
        f"data.name: {LASTFM} is not below {' or '.join(map(str, roots(root)))}; put {LASTFM}.npz "
        f"into a folder {MUSIC} there, or give the folder of HetRec 2011 Last.fm 2k as its authors "
        "publish it (non-commercial use) as a path."
    )


def _known(about: str, rows: int, read: Callable[[str | None], Raw]) -> Known[Raw]:
    return Known(about, None, (rows,), read, origin="made of random numbers")


RECOMMENDATION_SETS: Catalogue[Raw] = Catalogue(
    "recommendation data set",
    MUSIC,
    {
        SYNTHETIC: _known(
            "people who listen by taste, mood and friends; drawn at random", 4_000,
            lambda root: raw_world(WorldSpec()),
        ),
        LASTFM: Known(
            "1,892 users of Last.fm, 17,632 artists, friends, tags", None, (92_834,), _not_there,
            get=_not_there, download="not there; see the README of the data",
        ),
    },
    holds_interactions,
    "interactions",
)  # fmt: skip
