"""Reads interactions from a csv or tab-separated table.

Columns: `user` and `item`, any texts; `count`, `rating`, `time` (numbers) and `split` (train, val
or test) may be absent. Others are not read, and the account names them.
"""

from pathlib import Path

import numpy as np

from peerlearn.data.account import Account, some
from peerlearn.errors import InputError, did_you_mean
from peerlearn.tasks.recommendation.data.delimited import Columns, read_columns
from peerlearn.tasks.recommendation.data.raw import PARTS, Raw, named

OPTIONAL = ("count", "rating", "time")
SPLIT = "split"


def read_table(path: Path) -> Raw:
    """The interactions of a table.

    Raises InputError: no such file, no such columns, or a value that is none; names the line.
    """
    table = read_columns(path, ("user", "item"))
    columns = {name: table.numbers(name) for name in OPTIONAL if name in table.titles}
    users, user_N = named("user", table.texts("user"))
    items, item_N = named("item", table.texts("item"))
    unread = [title for title in table.titles if title not in ("user", "item", *OPTIONAL, SPLIT)]
    notes = (f"columns that are not read: {some(unread)}",) if unread else ()
    return Raw(
        str(path), users, items, user_N, item_N,
        count_N=columns.get("count", np.ones(len(user_N))),
        place_N=table.line,
        row="line",
        rating_N=columns.get("rating"),
        time_N=columns.get("time"),
        part_N=_parts(table) if SPLIT in table.titles else None,
        account=Account(notes=notes),
    )  # fmt: skip


def _parts(table: Columns) -> np.ndarray:
    column = table.titles.index(SPLIT)
    parts = []
    for line, row in zip(table.line, table.rows, strict=True):
        if row[column] not in PARTS:
            raise InputError(
                f"{table.path}, line {line}: split is {row[column]!r}; allowed: "
                f"{', '.join(PARTS)}.{did_you_mean(row[column], PARTS)}"
            )
        parts.append(PARTS.index(row[column]))
    return np.array(parts, np.int8)
