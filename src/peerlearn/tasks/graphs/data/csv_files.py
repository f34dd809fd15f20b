"""Reads a graph from a folder of two tables: `nodes.csv` and `edges.csv`, each with a header.

Columns of `nodes.csv`: `id`, any texts, each once; `label`, a class by name or number, empty for a
node without one; `split`, `train`, `val` or `test`, empty for neither; all others are features,
numbers, in the order of the file. Columns of `edges.csv`: `source` and `target`, both ids; others,
such as weights, are not read, and the account says so. Nodes are numbered as their lines.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from peerlearn.data.account import Account, counted, some
from peerlearn.data.arrays import Array
from peerlearn.data.table_headers import check_header
from peerlearn.errors import InputError, did_you_mean
from peerlearn.files import check_file
from peerlearn.tasks.graphs.data.notes import NotedArrays

NODES, EDGES = "nodes.csv", "edges.csv"
ID, LABEL, SPLIT = "id", "label", "split"
ENDS = ("source", "target")
PARTS = {"train": "train", "val": "val", "test": "test", "valid": "val", "validation": "val"}
FORM = f"a folder with {NODES} (id, features …, label, split) and {EDGES} (source, target)"

Row = tuple[int, list[str]]
"""Number of a line in its file, and its values."""


def read_tables(folder: Path, to_train: bool) -> NotedArrays:
    """`x`, `y`, `edge_index` and masks, as far as there are such columns.

    Args:
        folder: with both files.
        to_train: whether labels and edges are needed; what is to be labelled may have neither.

    Raises InputError: names the file, the line and what is wrong there.
    """
    path = folder / NODES
    titles, rows = _table(path, (ID, LABEL) if to_train else (ID,))
    place = _places(path, rows, titles.index(ID))
    arrays = NotedArrays()
    features = [n for n, title in enumerate(titles) if title not in (ID, LABEL, SPLIT)]
    if features:
        arrays["x"] = np.array([_numbers(path, row, titles, features) for row in rows], np.float32)
    if LABEL in titles:
        arrays["y"] = _labels([row[titles.index(LABEL)] for _, row in rows])
    if SPLIT in titles:
        arrays.update(_masks(path, rows, titles.index(SPLIT)))
    notes = [f"{NODES}: {counted(len(rows), 'row')}, {counted(len(features), 'feature')}"]
    if to_train or (folder / EDGES).exists():
        arrays["edge_index"], more = _edges(folder / EDGES, place)
        notes += more
    arrays.account = Account(notes=tuple(notes))
    return arrays


def refuse_lone_table(path: Path, said: str) -> None:
    """Raise `InputError` where a path is a single csv file, which is no graph."""
    if path.suffix == ".csv" and path.is_file():
        beside = all((path.parent / name).is_file() for name in (NODES, EDGES))
        which = f"give the folder, {path.parent}" if beside else f"expected {FORM}"
        raise InputError(f"{said}: a single table is no graph with labelled nodes; {which}.")


def _table(path: Path, needed: Sequence[str]) -> tuple[list[str], list[Row]]:
    """The titles of the columns, and the lines below that are not empty."""
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; a graph in tables is {FORM}.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, row) for number, row in _lines(file) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 ({error}).") from None
    if not lines:
        raise InputError(f"{path}: is empty; expected a header with {', '.join(needed)}.")
    (first, header), *rows = lines
    titles = [each.lower() if each.lower() in (ID, LABEL, SPLIT, *ENDS) else each
              for each in header]  # fmt: skip
    check_header(path, first, titles, needed, ";\t", "Columns are separated by commas.")
    for number, row in rows:
        if len(row) != len(titles):
            raise InputError(
                f"{path}, line {number}: {counted(len(row), 'value')}; the header has {len(titles)}"
            )
    if not rows and ID in needed:
        raise InputError(f"{path}: has a header and no row below it.")
    return titles, rows


def _lines(file: Iterator[str]) -> Iterator[Row]:
    reader = csv.reader(file, skipinitialspace=True)
    for row in reader:
        yield reader.line_num, [value.strip() for value in row]


def _places(path: Path, rows: Sequence[Row], column: int) -> dict[str, int]:
    """The number of the node of every id."""
    place: dict[str, int] = {}
    for number, row in rows:
        name = row[column]
        if not name:
            raise InputError(f"{path}, line {number}: an empty id.")
        if name in place:
            before = rows[place[name]][0]
            raise InputError(f"{path}, line {number}: id {name!r} is that of line {before} too.")
        place[name] = len(place)
    return place


def _numbers(path: Path, row: Row, titles: Sequence[str], columns: Sequence[int]) -> list[float]:
    values = []
    for column in columns:
        try:
            value = float(row[1][column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"{path}, line {row[0]}: {titles[column]} is {row[1][column]!r}; features are "
                f"numbers (every column but {ID}, {LABEL} and {SPLIT})."
            )
        values.append(value)
    return values


def _labels(texts: Sequence[str]) -> Array:
    """Numbers where all labels are numbers, -1 for an empty one; else the texts."""
    try:
        values = np.array([float(text or -1) for text in texts])
    except ValueError:
        return np.array(texts, dtype=str)
    return values.astype(np.int64) if np.array_equal(values, np.round(values)) else values


def _masks(path: Path, rows: Sequence[Row], column: int) -> dict[str, Array]:
    parts = []
    for number, row in rows:
        said = row[column].lower()
        if said and said not in PARTS:
            raise InputError(
                f"{path}, line {number}: split is {row[column]!r}; allowed: train, val, test or "
                f"nothing.{did_you_mean(said, PARTS)}"
            )
        parts.append(PARTS.get(said, ""))
    found = np.array(parts)
    for part in ("train", "test"):
        if part not in found:
            raise InputError(f"{path}: column {SPLIT} has no {part}; allowed to be absent: val.")
    return {f"{part}_mask": found == part for part in ("train", "val", "test") if part in found}


def _edges(path: Path, place: dict[str, int]) -> tuple[Array, list[str]]:
    titles, rows = _table(path, ENDS)
    columns = [titles.index(end) for end in ENDS]
    ends = np.empty((2, len(rows)), np.int64)
    for at, (number, row) in enumerate(rows):
        for side, column in enumerate(columns):
            name = row[column]
            if name not in place:
                strangers = {row[c] for _, row in rows for c in columns} - place.keys()
                raise InputError(
                    f"{path}, line {number}: {ENDS[side]} {name!r} is no id of {NODES}."
                    f"{did_you_mean(name, place)} Unknown ids: {some(sorted(strangers))}."
                )
            ends[side, at] = place[name]
    notes = [f"{path.name}: {counted(len(rows), 'row')}"]
    if unread := [title for title in titles if title not in ENDS]:
        notes.append(f"{path.name}: not read, for edges have no weights here: {some(unread)}")
    return ends, notes
