"""Reads the arrays of a graph data set from a path: an `.npz` file, or a folder of raw files."""

from collections.abc import Callable
from pathlib import Path

from peerlearn.data.arrays import Array
from peerlearn.data.catalogue import npz_at
from peerlearn.data.npz import read_arrays
from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.ogb_csv import is_ogb, read_ogb
from peerlearn.tasks.graphs.data.planetoid import is_planetoid, read_planetoid
from peerlearn.tasks.graphs.data.tu import is_tu, read_tu

Arrays = dict[str, Array]

LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Arrays]], ...] = (
    (is_planetoid, read_planetoid),
    (is_tu, read_tu),
    (is_ogb, read_ogb),
)


def read_graph_arrays(path: Path, field: str | None = None) -> Arrays:
    """Every array by name, unchecked; see `peerlearn.tasks.graphs.data.arrays`.

    `field` is the configuration field that holds the path, for messages.

    Raises:
        InputError: no such file or folder, or one that holds no graphs.
    """
    said = f"{field}: {path}" if field else str(path)
    if path.is_dir():
        return _read_folder(path, said)
    return read_arrays(npz_at(path, "a folder of raw graph files", said))


def holds_graphs(folder: Path) -> bool:
    """Whether a folder holds raw files of a known layout."""
    return any(fits(folder) for fits, _ in LAYOUTS)


def _read_folder(folder: Path, said: str) -> Arrays:
    for fits, read in LAYOUTS:
        if fits(folder):
            return read(folder)
    raise InputError(
        f"{said}: holds no graph data; expected the raw files of Planetoid (ind.NAME.graph …), of "
        "TU (NAME_A.txt …) or of OGB molecules (raw/edge.csv.gz …)."
    )
