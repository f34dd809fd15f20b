"""The first line of a table in a text file."""

from collections.abc import Sequence
from pathlib import Path

from peerlearn.data.account import some
from peerlearn.errors import InputError, did_you_mean


def check_header(
    path: Path, line: int, titles: Sequence[str], needed: Sequence[str], marks: str, otherwise: str
) -> None:
    """See that columns have names, all of them different, and that those needed are there.

    Args:
        path: of the file.
        line: number of the header in it.
        titles: of its columns.
        needed: titles that must be among them.
        marks: what may stand between columns elsewhere: in a lone title, it is `otherwise` told.
        otherwise: a sentence about what separates columns here.

    Raises InputError: names the file, the line and the column.
    """
    for title in needed:
        if title not in titles:
            hint = did_you_mean(title, titles)
            if len(titles) == 1 and any(mark in titles[0] for mark in marks):
                hint = f" {otherwise}"
            raise InputError(
                f"{path}, line {line}: no column {title!r} in the header.{hint} Found: "
                f"{some(titles, 10)}."
            )
    for title in titles:
        if not title or titles.count(title) > 1:
            what = f"two columns {title!r}" if title else "a column without a name"
            raise InputError(f"{path}, line {line}: {what}.")
