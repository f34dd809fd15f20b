"""Reads the arrays of a graph `.npz`; nothing in it is ever unpickled."""

from pathlib import Path

from peerlearn.data.arrays import Array
from peerlearn.data.npz import open_npz, read_array


def read_graph_npz(path: Path) -> dict[str, Array]:
    """Every array of the file by name, unchecked; see `peerlearn.data.graphs.arrays`.

    Raises:
        InputError: the file is missing, damaged or holds pickled objects.
    """
    with open_npz(path) as file:
        return {key: read_array(file, key, path) for key in file.files}
