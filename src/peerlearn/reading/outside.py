"""Rows of other data sets, read as those of a run are, without labels.

Such are rows outside its distribution, and public ones that peers on other machines have too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
PUBLIC = "transport.public"
ALIKE = ("sample_shape", "dtype")


class Wanted(NamedTuple):
    """Which rows of a data set are read, where it has such; else all there are."""

    part: Literal["train", "test"]
    keys: tuple[str, ...]  # arrays of an `.npz` file that hold rows, the first one there is read


TEST, TRAIN = Wanted("test", ("x_test", "x", "x_train")), Wanted("train", ("x_train", "x"))


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
    for name in names[:1]:
        if info.multilabel:
            raise _not_for(FIELD, name, "several labels a row", " with one class each")
        _check_readable(FIELD, name, info)
    found: dict[str, Outside] = {}
    for name, called in zip(names, _short_names(names), strict=True):
        where = f"{FIELD}.{list(names).index(name)}"
        if called in found:
            raise InputError(f"{where}: {name!r} is named twice; once is enough")
        found[called] = _read(where, name, info, config, TEST)
    return found


def read_public(name: str, info: RowInfo, config: Any) -> Outside:
    """The data set of `transport.public`: its training rows; all rows where there are no parts.

    Raises InputError: as `read_outside`, or fewer than two rows.
    """
    _check_readable(PUBLIC, name, info)
    found = _read(PUBLIC, name, info, config, TRAIN)
    if len(found.split) < 2:
        raise InputError(f"{PUBLIC}: {name} has 1 row; at least 2 are needed to learn from")
    return found


def _short_names(names: Sequence[str]) -> list[str]:
    """Names without folder and suffix; with the folder where two would be called alike."""
    short = [stem(name) for name in names]
    longer = [f"{Path(name).parent.name}/{stem(name)}" for name in names]
    return [
        far if short.count(near) > 1 and names.count(name) == 1 else near
        for name, near, far in zip(names, short, longer, strict=True)
    ]


def _read(field: str, name: str, info: RowInfo, config: Any, wanted: Wanted) -> Outside:
    try:
        return _found(name, RowReader(info, config), config.data.root, wanted)
    except InputError as error:
        said = str(error).removeprefix("data.name: ")
        raise InputError(f"{field}: {said}") from error


def _check_readable(field: str, name: str, info: RowInfo) -> None:
    if info.dtype == "items" or not info.sample_shape:
        raise _not_for(field, name, "items that were made in Python")


def _not_for(field: str, name: str, about: str, which: str = "") -> InputError:
    return InputError(
        f"{field}: found {name!r}, but the run is about {about}; it is for rows of arrays or image "
        f"files{which}"
    )


def _found(name: str, reader: RowReader, root: str | None, wanted: Wanted) -> Outside:
    path = DATASETS.find(name, root) or Path(name).expanduser()
    if path.is_file() and path.suffix.lower() in (".npz", ".npy"):
        where, array = _array(path, wanted.keys)
        x = checked_rows(array, reader.info, where)
        part = f"{wanted.part} row" if where.endswith(f": {wanted.keys[0]}") else "row"
        return Outside(name, Split(x, _unlabelled(len(x))), part, Account())
    source = read_source(name, root, reader.form(name))
    split = source.train if wanted.part == "train" or source.test is None else source.test
    raw = split.rows(torch.zeros(1, dtype=torch.int64))
    found = {"sample_shape": tuple(raw.shape[1:]), "dtype": str(raw.dtype).removeprefix("torch.")}
    for what in ALIKE:
        if found[what] != (expected := getattr(reader.info, what)):
            raise InputError(
                f"{name}: {what} {found[what]}, but the run is trained on {what} {expected}, which "
                "alone is allowed"
            )
    whole = source.test is None or ALL_MEASURED in source.account.notes
    part = "row" if whole else f"{wanted.part} row"
    return Outside(name, split.with_labels(_unlabelled(len(split))), part, source.account)


def _array(path: Path, keys: Sequence[str]) -> tuple[str, Array]:
    if path.suffix.lower() == ".npy":
        return str(path), read_npy(path)
    with open_npz(path) as file:
        for key in keys:
            if key in file.files:
                return f"{path}: {key}", read_array(file, key, path)
        found = ", ".join(file.files) or "nothing"
    raise InputError(f"{path}: found {found}; allowed: one of the arrays {', '.join(keys)}")


def _unlabelled(count: int) -> torch.Tensor:
    return torch.full((count,), UNLABELLED)


def told_of(found: Mapping[str, Outside], what: str = "out of distribution") -> Account:
    """What is told before a training: how many rows each has, and what was left out."""
    each = [f"{name} ({counted(len(it.split), it.part)})" for name, it in found.items()]
    notes = [f"{what}: {', '.join(each)}"] if each else []
    for name, it in found.items():
        left_out = Account(left_out=it.account.left_out, notes=it.account.notes)
        notes += [f"{name}: {line}" for line in left_out.lines() if ALL_MEASURED not in line]
    return Account(notes=tuple(notes))
