"""`gallery.npz` of a run folder: arrays that were made to be looked at."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peerlearn.errors import InputError

Arrays = Mapping[str, NDArray[Any]]


def read_arrays(path: Path) -> Arrays:
    """The arrays of a gallery by name.

    Raises:
        InputError: the file is damaged, or holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (KeyError, ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        raise unreadable(path, str(error)) from error


def unreadable(path: Path, why: str) -> InputError:
    """What to raise where a file is not the gallery that was expected."""
    return InputError(f"{path}: not readable as a gallery: {why}")
