"""Reads the layout of MMRec: a table of interactions, and an array of features for each modality.

A folder with `NAME.inter` (userID, itemID, rating, timestamp, x_label; tab-separated) and
`image_feat.npy`, `text_feat.npy` or any `MODALITY_feat.npy`, whose row is the number of the item.
`x_label` is 0 for train, 1 for val and 2 for test. Only userID and itemID must be there.
"""

from pathlib import Path

import numpy as np

from peerlearn.data.npz import read_npy
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.delimited import Columns, read_columns
from peerlearn.tasks.recommendation.data.feature_files import checked_table
from peerlearn.tasks.recommendation.data.raw import Ints, Names, Raw, Table, named, numbered

FEATURES = "_feat.npy"


def read_mmrec(path: Path) -> Raw:
    """The interactions of an `.inter` file without types, and the features that lie beside it.

    Raises InputError: no such table, a number that is none, or an item without a row in the
    features; names the line.
    """
    table = read_columns(path, ("userID", "itemID"), "\t", quoted=False)
    tables = {
        each.name.removesuffix(FEATURES): Table(checked_table(read_npy(each), str(each)))
        for each in sorted(path.parent.glob(f"*{FEATURES}"))
    }
    users, user_N = named("user", table.texts("userID"))
    items, item_N = _items(table, tables)

    def numbers(title: str) -> np.ndarray | None:
        return table.numbers(title) if title in table.titles else None

    return Raw(
        str(path), users, items, user_N, item_N,
        count_N=np.ones(len(user_N)),
        place_N=table.line,
        row="line",
        rating_N=numbers("rating"),
        time_N=numbers("timestamp"),
        part_N=_parts(table, numbers("x_label")),
        tables=tables,
    )  # fmt: skip


def _items(table: Columns, tables: dict[str, Table]) -> tuple[Names, Ints]:
    """Items by number where features have a row for each, else those that occur."""
    lengths = {name: len(it.x_IF) for name, it in tables.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}{FEATURES} {length}" for name, length in lengths.items())
        raise InputError(f"{table.path.parent}: numbers of rows differ: {said}.")
    if not lengths:
        return named("item", table.texts("itemID"))
    count = next(iter(lengths.values()))
    items = numbered("item", count)
    item_N = items.positions(table.texts("itemID"))
    if len(wrong := np.flatnonzero(item_N < 0)):
        found = table.texts("itemID")[wrong[0]]
        raise InputError(
            f"{table.path}, line {table.line[wrong[0]]}: itemID is {found!r}; allowed: 0 to "
            f"{count - 1}, the rows of {next(iter(lengths))}{FEATURES}."
        )
    return items, item_N


def _parts(table: Columns, labels: np.ndarray | None) -> np.ndarray | None:
    if labels is None:
        return None
    if len(wrong := np.flatnonzero(~np.isin(labels, (0, 1, 2)))):
        raise InputError(
            f"{table.path}, line {table.line[wrong[0]]}: x_label is {labels[wrong[0]]:g}; allowed: "
            "0 train, 1 val, 2 test."
        )
    return labels.astype(np.int8)
