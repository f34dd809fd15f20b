"""Tables of items, each a modality: csv, `.npz` or `.npy`.

- csv: a column `item`, as the interactions call it, and columns of numbers; the modality is called
  like the file. An item without values, or without a line, is missing.
- `.npz`: `item` (n,), as the interactions call it, and arrays (n, F), a modality each; without
  `item`, arrays (I, F) for all items in their order. The suffix `_x` of a name does not count.
- `.npy`: (I, F), for all items in their order.

A row is there as a whole or not at all: one with some NaN is refused, for a zero in their place
would be a value that nobody measured.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from peerlearn.data.account import EMPTY, Account, LeftOut, counted
from peerlearn.data.arrays import Array
from peerlearn.data.npz import read_arrays, read_npy
from peerlearn.errors import InputError, similar_path
from peerlearn.tasks.recommendation.data.delimited import read_columns
from peerlearn.tasks.recommendation.data.raw import NOBODY, Floats, Names, Table, check_new

EMOTION = ("valence", "arousal")


def read_features(said: str, items: Names) -> tuple[dict[str, Table], Account]:
    """(tables by name, account) of one path of `data.features`.

    Raises InputError: no such file, no numbers, another number of rows, rows with some NaN, or no
    item that the interactions have.
    """
    path = Path(said).expanduser()
    _check_file("data.features", path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _of_npz(path, items)
    if suffix == ".npy":
        x_IF = checked_table(read_npy(path), str(path))
        _check_rows(x_IF, items, str(path))
        return {path.stem: Table(x_IF)}, EMPTY
    if suffix not in (".csv", ".tsv"):
        raise InputError(f"data.features: {path}: allowed: csv, tsv, npz or npy.")
    table, account = _of_csv(path, items)
    return {path.stem: table}, account


def read_emotion(said: str, items: Names) -> tuple[Floats, Account]:
    """(emotion_I2, account) of `data.emotion`: a csv with the columns item, valence, arousal.

    Raises InputError: as `read_features`, no such columns, or values outside −1 to 1.
    """
    path = Path(said).expanduser()
    _check_file("data.emotion", path)
    table, account = _of_csv(path, items, EMOTION)
    check_emotion(table.x_IF, str(path), items.ids.tolist())
    return table.x_IF, account


def _check_file(field: str, path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{field}: {path}: is a folder; expected a file.")
    if not path.is_file():
        raise InputError(f"{field}: {path}: no such file.{similar_path(path)}")


def check_emotion(emotion_I2: Floats, where: str, names: Sequence[object] | None = None) -> None:
    """InputError where these are not two numbers an item, each in [−1, 1] or NaN.

    `names` are what items are called in messages; None: their numbers.
    """
    if emotion_I2.shape[1] != 2:
        raise InputError(
            f"{where}: shape {emotion_I2.shape}; allowed: (I, 2), valence and arousal."
        )
    wrong = np.argwhere(np.abs(emotion_I2) > 1)
    if len(wrong):
        row, column = wrong[0].tolist()
        name, found = row if names is None else names[row], emotion_I2[row, column]
        raise InputError(f"{where}, item {name}: {EMOTION[column]} is {found:g}; allowed: -1 to 1.")


def checked_table(
    array: Array,
    where: str,
    names: Sequence[object] | None = None,
    titles: Sequence[str] | None = None,
) -> Floats:
    """A table of numbers, float32 (n, F), every row of which is there or NaN as a whole.

    `names` and `titles` are what its rows and columns are called in messages; None: their numbers.

    Raises InputError: another shape, infinite values, some NaN in a row, or no row that is there.
    """
    if array.dtype.kind not in "iufb" or array.ndim != 2 or not array.size:
        raise InputError(
            f"{where}: {array.dtype} of shape {array.shape}; allowed: numbers of shape (I, F)."
        )
    with np.errstate(over="ignore"):  # what is too large for float32 is told as infinite
        x_IF = array.astype(np.float32)
    nothing = np.isnan(x_IF)
    some = np.asarray(nothing.any(1) & ~nothing.all(1))
    partly = "nan, but other columns are not; allowed: a row of numbers, or of nan alone"
    infinite = "infinite; allowed: numbers, or a row of nan"
    for wrong, said in ((nothing & some[:, None], partly), (np.isinf(x_IF), infinite)):
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            name = row if names is None else names[row]
            title = column if titles is None else titles[column]
            rows = counted(int(np.sum(wrong.any(1))), "row")
            raise InputError(f"{where}, item {name}: column {title} is {said}. Such: {rows}.")
    if nothing.all():
        raise InputError(f"{where}: every row is nan; leave it away, or give what is known.")
    return x_IF


def _of_npz(path: Path, items: Names) -> tuple[dict[str, Table], Account]:
    arrays = read_arrays(path)
    keys = arrays.pop("item", None)
    account, tables = EMPTY, dict[str, Table]()
    if not arrays:
        raise InputError(f"{path}: holds no table of items.")
    if keys is not None and (keys.ndim != 1 or keys.dtype.kind not in "iuU" or not keys.size):
        raise InputError(
            f"{path}: item: {keys.dtype} of shape {keys.shape}; allowed: whole numbers or texts of "
            "shape (n,)."
        )
    for name, array in arrays.items():
        where = f"{path}: {name}"
        x_IF = checked_table(array, where, None if keys is None else keys.tolist())
        if keys is None:
            _check_rows(x_IF, items, where)
        elif len(x_IF) != len(keys):
            raise InputError(f"{where}: has {len(x_IF)} rows; item has {len(keys)}.")
        else:
            x_IF, account = _placed(x_IF, keys.tolist(), items, str(path))
        name = name.removesuffix("_x")
        check_new(name, tables, where)
        tables[name] = Table(x_IF)
    return tables, account


def _of_csv(path: Path, items: Names, columns: Sequence[str] = ()) -> tuple[Table, Account]:
    """The columns of a csv, or all of them but `item`."""
    table = read_columns(path, ("item", *columns))
    titles = tuple(columns) or tuple(title for title in table.titles if title != "item")
    if not titles:
        raise InputError(
            f"{path}: has no column beside item; a table of features has one at least."
        )
    keys = table.texts("item")
    x_IF = np.stack([table.numbers(title, empty=True) for title in titles], 1)
    x_IF, account = _placed(checked_table(x_IF, str(path), keys, titles), keys, items, str(path))
    unread = [title for title in table.titles if title not in ("item", *titles)]
    if unread:
        account += Account(notes=(f"{path.name}: columns not read: {', '.join(unread)}",))
    return Table(x_IF, titles), account


def _placed(
    x_nF: Floats, keys: Sequence[object], items: Names, where: str
) -> tuple[Floats, Account]:
    """Rows in the places of their items (I, F), NaN elsewhere, and who is not known."""
    place = items.positions(keys)
    known = place != NOBODY
    if not known.any():
        raise InputError(
            f"{where}: none of its {counted(len(keys), 'item')} is in the interactions; the first "
            f"is {keys[0]}, and they have {items.keys[0]}, {items.keys[-1]} and the like."
        )
    found, times = np.unique(place[known], return_counts=True)
    if (times > 1).any():
        twice = items.keys[found[times > 1][0]]
        raise InputError(f"{where}: item {twice} has several rows; allowed: one.")
    x_IF = np.full((len(items), x_nF.shape[1]), np.nan, np.float32)
    x_IF[place[known]] = x_nF[known]
    strangers = tuple(str(keys[row]) for row in np.flatnonzero(~known).tolist())
    reason = f"items of {Path(where).name} that the interactions do not have"
    return x_IF, Account(left_out=(LeftOut(reason, strangers),) if strangers else ())


def _check_rows(x_IF: Floats, items: Names, where: str) -> None:
    if len(x_IF) != len(items):
        raise InputError(
            f"{where}: has {len(x_IF)} rows; the interactions have {len(items)} items. With an "
            "array 'item' it may have fewer."
        )
