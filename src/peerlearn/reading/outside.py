"""Rows outside the distribution of a run: other data sets, read as its own are, without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from peerlearn.data.account import Account, counted
from peerlearn.data.arrays import Array
from peerlearn.data.datasets import Split
from peerlearn.data.image_folder import ALL_MEASURED
from peerlearn.data.info import RowInfo
from peerlearn.data.npz import open_npz, read_array, read_npy
from peerlearn.data.registry import DATASETS, read_source
from peerlearn.data.spec import stem
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.reading.inputs import checked_rows
from peerlearn.reading.rows import RowReader

FIELD = "evaluation.ood"
ALIKE = ("sample_shape", "dtype")
KEYS = ("x_test", "x", "x_train")
"""Arrays of an `.npz` file that hold rows, the first one there is read."""
TEST, EVERY = "test row", "row"
"""What is read, in the singular."""


class Outside(NamedTuple):
    """One data set that a run was not trained on.

    Attributes:
        typed: how it was named in the configuration.
        split: its rows, not normalised and without labels.
        part: which of its rows these are, in words, in the singular.
        account: what was read of it.
    """

    typed: str
    split: Split
    part: str
    account: Account


def read_outside(names: Sequence[str], info: RowInfo, config: Any) -> Mapping[str, Outside]:
    """The data sets of `evaluation.ood`, by short names that tell them apart.

    Of each the test rows; all rows where it has no part for tests.

    Args:
        names: of data sets, or paths: what `data.name` takes, or an `.npz` with `x`, or an
            `.npy`; labels are not read.
        info: of the run's data, which the rows must fit.
        config: of the run.

    Raises InputError: names the entry, what was found and what is allowed; or one is named twice,
    or the run's networks read nothing that can be read.
    """
    if names and (info.multilabel or info.dtype == "items" or not info.sample_shape):
        about = "several labels a row" if info.multilabel else "items that were made in Python"
        raise InputError(
            f"{FIELD}: found {names[0]!r}, but the run is about {about}; it is for rows of arrays "
            "or image files with one class each"
        )
    reader = RowReader(info, config)
    found: dict[str, Outside] = {}
    for name, called in zip(names, _short_names(names), strict=True):
        where = f"{FIELD}.{list(names).index(name)}"
        if called in found:
            raise InputError(f"{where}: {name!r} is named twice; once is enough")
        try:
            found[called] = _read(name, reader, config.data.root)
        except InputError as error:
            said = str(error).removeprefix("data.name: ")
            raise InputError(f"{where}: {said}") from error
    return found


def _short_names(names: Sequence[str]) -> list[str]:
    """Names without folder and suffix; with the folder where two would be called alike."""
    short = [stem(name) for name in names]
    longer = [f"{Path(name).parent.name}/{stem(name)}" for name in names]
    return [
        far if short.count(near) > 1 and names.count(name) == 1 else near
        for name, near, far in zip(names, short, longer, strict=True)
    ]


def _read(name: str, reader: RowReader, root: str | None) -> Outside:
    path = DATASETS.find(name, root) or Path(name).expanduser()
    if path.is_file() and path.suffix.lower() in (".npz", ".npy"):
        where, array = _array(path)
        x = checked_rows(array, reader.info, where)
        part = TEST if where.endswith(KEYS[0]) else EVERY
        return Outside(name, Split(x, _unlabelled(len(x))), part, Account())
    source = read_source(name, root, reader.form(name))
    split = source.train if source.test is None else source.test
    raw = split.rows(torch.zeros(1, dtype=torch.int64))
    found = {"sample_shape": tuple(raw.shape[1:]), "dtype": str(raw.dtype).removeprefix("torch.")}
    for what in ALIKE:
        if found[what] != (expected := getattr(reader.info, what)):
            raise InputError(
                f"{name}: {what} {found[what]}, but the run is trained on {what} {expected}, which "
                "alone is allowed"
            )
    part = EVERY if source.test is None or ALL_MEASURED in source.account.notes else TEST
    return Outside(name, split.with_labels(_unlabelled(len(split))), part, source.account)


def _array(path: Path) -> tuple[str, Array]:
    if path.suffix.lower() == ".npy":
        return str(path), read_npy(path)
    with open_npz(path) as file:
        for key in KEYS:
            if key in file.files:
                return f"{path}: {key}", read_array(file, key, path)
        found = ", ".join(file.files) or "nothing"
    raise InputError(f"{path}: found {found}; allowed: one of the arrays {', '.join(KEYS)}")


def _unlabelled(count: int) -> torch.Tensor:
    return torch.full((count,), UNLABELLED)


def told_of(found: Mapping[str, Outside]) -> Account:
    """What is told before a training: how many rows each has, and what was left out."""
    each = [f"{name} ({counted(len(it.split), it.part)})" for name, it in found.items()]
    notes = [f"out of distribution: {', '.join(each)}"] if each else []
    for name, it in found.items():
        left_out = Account(left_out=it.account.left_out, notes=it.account.notes)
        notes += [f"{name}: {line}" for line in left_out.lines() if ALL_MEASURED not in line]
    return Account(notes=tuple(notes))
