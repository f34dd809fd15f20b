"""Tables in text files, whose columns have names: csv, tab-separated, and other delimiters."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from peerlearn.data.account import counted
from peerlearn.data.table_headers import check_header
from peerlearn.errors import InputError, similar_path
from peerlearn.files import check_file
from peerlearn.tasks.recommendation.data.raw import Floats, Ints


@dataclass(frozen=True)
class Columns:
    """The lines of a table below its header.

    Attributes:
        path: of the file.
        titles: of the columns, as they stand there.
        rows: the values of each line that is not empty.
        line: int64, the number of each in the file, counted from 1.
    """

    path: Path
    titles: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    line: Ints

    def said(self, title: str) -> list[str]:
        """The values of a column as they stand there, of which some may be empty."""
        column = self.titles.index(title)
        return [row[column] for row in self.rows]

    def texts(self, title: str) -> list[str]:
        """The values of a column. Raises InputError: one is empty."""
        values = self.said(title)
        if "" in values:
            line = self.line[values.index("")]
            raise InputError(f"{self.path}, line {line}: {title} is empty.")
        return values

    def numbers(self, title: str, empty: bool = False) -> Floats:
        """The values of a column, float64; `empty` ones, nan or nothing, are NaN if allowed.

        Raises InputError: one is no number.
        """
        column = self.titles.index(title)
        values = np.empty(len(self.rows))
        for place, row in enumerate(self.rows):
            said = row[column]
            try:
                value = math.nan if empty and not said else float(said)
            except ValueError:
                value = math.inf
            if math.isinf(value) or (math.isnan(value) and not empty):
                line = self.line[place]
                raise InputError(
                    f"{self.path}, line {line}: {title} is {said!r}; allowed: numbers"
                    + (", or nothing." if empty else ".")
                )
            values[place] = value
        return values


def read_columns(
    path: Path, needed: Sequence[str], delimiter: str | None = None, quoted: bool = True,
    encodings: Sequence[str] = ("utf-8-sig",), filled: bool = True, padded: bool = False,
) -> Columns:  # fmt: skip
    """A table with a header.

    Args:
        path: of the file.
        needed: titles of columns that must be there.
        delimiter: between values; None: a tab for the suffix .tsv, else a comma.
        quoted: whether a value may stand in quotes.
        encodings: tried in turn.
        filled: whether there must be a line below the header.
        padded: whether a line may end early; the values that it lacks are empty.

    Raises InputError: no such file, not a table, no such column, or a line of another width.
    """
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.{similar_path(path)}")
    mark = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines: list[tuple[int, list[str]]] = []
    for number, encoding in enumerate(encodings, 1):
        try:
            with path.open(encoding=encoding, newline="") as file:
                reader = csv.reader(file, delimiter=mark, quoting=quoting)
                lines = [
                    (reader.line_num, [it.strip() for it in row]) for row in reader if any(row)
                ]
            break
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            if number == len(encodings):
                raise InputError(f"{path}: not a table in UTF-8 ({error}).") from None
    if not lines:
        raise InputError(f"{path}: is empty; expected a header with {', '.join(needed)}.")
    first, header = lines[0]
    check_header(path, first, header, needed, ",;\t", "Its columns are separated otherwise.")
    for line, row in lines[1:]:
        if padded:
            row += [""] * (len(header) - len(row))
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}: {counted(len(row), 'value')}; the header has {len(header)}."
            )
    if filled and len(lines) == 1:
        raise InputError(f"{path}: has a header and no row below it.")
    at = np.array([line for line, _ in lines[1:]], np.int64)
    return Columns(path, tuple(header), [row for _, row in lines[1:]], at)
