"""Tables as csv."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from peerlearn.files import write_atomically


def write_table(out: Path | TextIO, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write a table as csv.

    Args:
        out: a file, written whole or not at all, or an open stream.
        header: names of the columns.
        lines: a text for each of them.

    Raises:
        RunError: the file cannot be written; the old one stays.
    """
    if isinstance(out, Path):
        write_atomically(out, lambda temporary: _write_file(temporary, header, lines))
    else:
        _write(out, header, lines)


def _write_file(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        _write(file, header, lines)


def _write(stream: TextIO, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
