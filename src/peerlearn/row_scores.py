"""`rows.npz`: what every test row scored, so that a report can be computed without the networks.

It lies beside the `results.json` of a run and is written before it. Of peers and of the ensemble
it holds arrays float32 (rows,), called `WHO/SCORE`, and as `rows` a text that says which rows these
are:

- A score that is called like a metric of the run has that metric as its mean over rows. NaN stands
  where a row is not one that the metric is measured on; the mean is that of the others.
- Any other score is what further metrics are made of, such as `confidence`; tasks say which.

Rows are those that the run reported on, in the order of the data, without those that have no label.
No other rows are kept: not those of validation, of `peerlearn eval --data`, or under noise.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peerlearn.data.npz import read_arrays
from peerlearn.errors import InputError
from peerlearn.files import write_arrays

RowScores = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""Who ("a", "b", …, "ensemble") → score → (rows,), of one length for one who."""

FILE = "rows.npz"
_ROWS = "rows"


def write_row_scores(path: Path, scores: RowScores, row_set: str = "") -> None:
    """Write `rows.npz`, atomically.

    `row_set` says which rows they are: texts are equal where rows and their order are; empty where
    nobody knows.

    Raises RunError: the file cannot be written.
    """
    arrays = {
        f"{who}/{_storable(score)}": np.asarray(values, np.float32)
        for who, found in scores.items()
        for score, values in found.items()
    }
    write_arrays(path, arrays | {_ROWS: np.array(row_set)})


def read_row_scores(path: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What every row scored, by who and score; in a mean, NaN is left out.

    Raises InputError: no such file, or it is damaged, holds objects or arrays of other types or
    shapes, or needs more memory than there is; names the file.
    """
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, values in read_arrays(path).items():
        if name == _ROWS:
            continue
        who, _, score = name.partition("/")
        if not (who and score):
            raise InputError(f"{path}: array {name!r}: expected names such as ensemble/accuracy")
        if values.dtype != np.float32 or values.ndim != 1:
            said = f"{values.dtype} {values.shape}"
            raise InputError(f"{path}: array {name!r} is {said}; expected float32 (rows,)")
        of_one = found.setdefault(who, {})
        rows = len(next(iter(of_one.values()), values))
        if len(values) != rows:
            raise InputError(f"{path}: array {name!r} has {len(values)} rows, others have {rows}")
        of_one[score] = values.astype(np.float32, copy=False)
    return found


def read_row_set(path: Path) -> str:
    """Which rows a file is about: equal texts mean the same rows in the same order.

    Empty where nobody knows, which equals nothing.

    Raises InputError: as `read_row_scores`, or the file does not say it.
    """
    found = read_arrays(path, [_ROWS]).get(_ROWS)
    if found is None or found.dtype.kind != "U" or found.ndim:
        raise InputError(f"{path}: does not say which rows it is about (array {_ROWS!r}, one text)")
    return str(found)


def _storable(name: str) -> str:
    """A name that a zip archive takes, whatever a class is called."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
