"""The file of handwritten digits that comes with scikit-learn, without importing it.

To import scikit-learn takes longer than to train a small network on them.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = Path("datasets", "data", "digits.csv.gz")
"""Below the package; a row of 64 pixels, by lines of the image, and its label."""
ROWS, PIXELS, CLASSES = 1797, 64, 10

FULL_INK = 16
"""Steps of ink that digits are drawn in, above none."""


def read_digit_file() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels (1797, 64), 0 to `FULL_INK`, and labels (1797,): what sklearn's `load_digits` gives.

    From scikit-learn itself where its file is not where it was, or holds something else.
    """
    package = find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        if (file := Path(folder) / FILE).is_file():
            table = _read_table(file)
            if table is not None:
                return table[:, :PIXELS], table[:, PIXELS].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels.astype(np.int64)


def _read_table(file: Path) -> NDArray[np.float64] | None:
    """The table of the file; None where it is not that of the digits."""
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            rows = lines.readlines()
        if not rows:
            return None
        table = np.loadtxt(rows, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError):
        return None
    if table.shape != (ROWS, PIXELS + 1) or not (table == np.floor(table)).all():
        return None
    inside = table.min() >= 0 and table[:, :PIXELS].max() <= FULL_INK
    return table if inside and table[:, PIXELS].max() < CLASSES else None
