"""Reads the atomic files of RecBole: tab-separated tables whose header has a type for each column.

`NAME.inter` (user_id:token; item_id:token, or what else the only other token is called, such as
artist_id; and rating:float, weight:float, a count, and timestamp:float where there are any); beside
it `NAME.net` (two columns of tokens, friends) and `NAME.item` (the column of items; columns of the
type float make the modality `item`, each of the type float_seq one of its own name, and a column
item_name, name or title of tokens says what items are called). Others are not read.
"""

from pathlib import Path

import numpy as np

from peerlearn.data.account import Account, counted, some
from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.delimited import Columns, read_columns
from peerlearn.tasks.recommendation.data.feature_files import checked_table
from peerlearn.tasks.recommendation.data.friends import friend_pairs
from peerlearn.tasks.recommendation.data.raw import NOBODY, Names, Raw, Table, check_new, named

USER, ITEM = "user_id:token", "item_id:token"
RATING, WEIGHT, TIME = "rating:float", "weight:float", "timestamp:float"
TOKEN = ":token"
TITLES = ("item_name", "name", "title", "artist_name", "movie_title")


def is_recbole(path: Path) -> bool:
    """Whether the header of an `.inter` file has types."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return ":" in file.readline(10_000)
    except (OSError, UnicodeDecodeError):
        return False


def read_recbole(path: Path) -> Raw:
    """The interactions of an `.inter` file with types, and what lies beside it.

    Raises InputError: a file is no such table; names it and the line.
    """
    table = _table(path, (USER,))
    tokens = [title for title in table.titles if title.endswith(TOKEN) and title != USER]
    if ITEM not in tokens and len(tokens) != 1:
        raise InputError(
            f"{path}: no column {ITEM!r} in the header, and {counted(len(tokens), 'other token')}; "
            "allowed: item_id, or one column of tokens beside user_id."
        )
    called = ITEM if ITEM in tokens else tokens[0]
    users, user_N = named("user", table.texts(USER))
    items, item_N = named("item", table.texts(called))
    read = (USER, called, RATING, WEIGHT, TIME)
    account = _unread(table, read)
    friends = np.empty((0, 2), np.int64)
    if (net := path.with_suffix(".net")).exists():
        ends = _table(net, ())
        tokens = [title for title in ends.titles if title.endswith(TOKEN)]
        if len(tokens) != 2:
            raise InputError(
                f"{net}: {counted(len(tokens), 'column')} of tokens; allowed: two, of friends."
            )
        first, second = map(ends.texts, tokens)
        friends, told = friend_pairs(users, first, second, str(net))
        account += told + _unread(ends, tokens)
    tables: dict[str, Table] = {}
    titles = None
    if (about := path.with_suffix(".item")).exists():
        tables, titles, told = _about_items(about, items, called)
        account += told
    return Raw(
        str(path), users, items, user_N, item_N,
        count_N=table.numbers(WEIGHT) if WEIGHT in table.titles else np.ones(len(user_N)),
        place_N=table.line,
        row="line",
        count_name="weight" if WEIGHT in table.titles else "count",
        rating_N=table.numbers(RATING) if RATING in table.titles else None,
        time_N=table.numbers(TIME) if TIME in table.titles else None,
        item_names=titles,
        friends_E2=friends,
        tables=tables,
        account=account,
    )  # fmt: skip


def _table(path: Path, needed: tuple[str, ...]) -> Columns:
    return read_columns(path, needed, "\t", quoted=False)


def _about_items(
    path: Path, items: Names, key: str
) -> tuple[dict[str, Table], np.ndarray | None, Account]:
    table = _table(path, (key,))
    place = items.positions(table.texts(key))
    known = place != NOBODY
    if not known.any():
        raise InputError(f"{path}: has no item of the interactions.")
    if len(np.unique(place[known])) < known.sum():
        raise InputError(f"{path}: an item has several lines; allowed: one.")

    def placed(x_nF: np.ndarray) -> Table:
        x_IF = np.full((len(items), x_nF.shape[1]), np.nan, np.float32)
        x_IF[place[known]] = x_nF[known]
        return Table(x_IF)

    tables: dict[str, Table] = {}
    keys = table.texts(key)
    single = [title for title in table.titles if title.endswith(":float")]
    if single:
        x_nF = np.stack([table.numbers(title, empty=True) for title in single], 1)
        names = tuple(title.removesuffix(":float") for title in single)
        tables["item"] = Table(placed(checked_table(x_nF, str(path), keys)).x_IF, names)
    several = [title for title in table.titles if title.endswith(":float_seq")]
    for title in several:
        name = title.removesuffix(":float_seq")
        check_new(name, tables, str(path))
        tables[name] = placed(checked_table(_sequences(table, title), f"{path}: {title}", keys))
    called = next((f"{it}:{kind}" for it in TITLES for kind in ("token", "token_seq")
                   if f"{it}:{kind}" in table.titles), None)  # fmt: skip
    titles = None
    if called is not None:
        said = dict(zip(keys, table.said(called), strict=True))
        titles = np.array([said.get(each) or each for each in items.keys.tolist()])
    read = [key, *single, *several, *([called] if called else [])]
    account = _unread(table, read)
    if not known.all():
        without = counted(int((~known).sum()), "item")
        account += Account(notes=(f"{path.name}: {without} without interactions left out",))
    return tables, titles, account


def _sequences(table: Columns, title: str) -> np.ndarray:
    """A column of numbers with spaces between them, of equal length or nothing."""
    column = table.titles.index(title)
    rows: list[list[float]] = []
    for line, row in zip(table.line, table.rows, strict=True):
        try:
            rows.append([float(each) for each in row[column].split()])
        except ValueError:
            raise InputError(
                f"{table.path}, line {line}: {title} is {row[column]!r}; allowed: numbers with "
                "spaces between them."
            ) from None
    width = max(map(len, rows))
    for line, values in zip(table.line, rows, strict=True):
        if len(values) not in (0, width):
            raise InputError(
                f"{table.path}, line {line}: {title} has {counted(len(values), 'number')}; others "
                f"have {width}."
            )
    return np.array([values or [np.nan] * width for values in rows]).reshape(len(rows), width)


def _unread(table: Columns, read: tuple[str, ...] | list[str]) -> Account:
    others = [title for title in table.titles if title not in read]
    said = f"{table.path.name}: columns that are not read: {some(others)}"
    return Account(notes=(said,) if others else ())
