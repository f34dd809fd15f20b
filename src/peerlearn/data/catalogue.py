"""Data sets by name: which there are, what they hold, and where they are found.

Every kind of data has one `Catalogue`, beside the functions that load it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from peerlearn.errors import InputError, similar_path, unknown_name

T = TypeVar("T")
IN_PYTHON = "(in Python)"
"""What a configuration calls rows that were given as they are, and are not kept."""


@dataclass(frozen=True)
class Known(Generic[T]):
    """A data set that has a name although it need not be a file below a root.

    Attributes:
        about: a few words.
        classes: how many; None of data without classes.
        rows: how many for train and for test, or altogether where the data say nothing of these.
        read: its content, of embedded data or of those that are downloaded to a root.
        shape: of a row; None where rows have no common one.
        origin: the package that embedded data are from, in words.
        get: downloads it to a root and gives its place; None where it is embedded.
        download: what `peerlearn ls data` says where it is not there yet.
    """

    about: str
    classes: int | None
    rows: tuple[int, ...]
    read: Callable[[str | None], T]
    shape: tuple[int, ...] | None = None
    origin: str = "made of scikit-learn's digits"
    get: Callable[[str | None], Path] | None = None
    download: str = "download"


class Description(NamedTuple):
    """One line of `peerlearn ls data`; fields as in `Known`, None where only the file knows."""

    name: str  # what `data.name` takes
    about: str
    classes: int | None
    shape: tuple[int, ...] | None
    rows: tuple[int, ...] | None
    place: str  # the file or folder that would be read, "embedded", or what is downloaded


@dataclass(frozen=True)
class Catalogue(Generic[T]):
    """The data sets of one kind.

    The root of every method is as in `SourceSpec.root`.
    """

    what: str  # such a data set, in words
    folder: str  # below a root, where they are looked for after the root itself
    known: Mapping[str, Known[T]]  # those that are embedded or can be downloaded
    holds: Callable[[Path], bool] = lambda path: True  # whether an `.npz` file is of this kind
    # what is counted in one, in the plural; None for rows of a shape, which are counted for train
    # and for test
    things: str | None = None

    def names(self, root: str | None = None) -> tuple[str, ...]:
        """Every name that `data.name` takes: embedded, downloadable, or a file below the root."""
        stems = {path.stem for folder in self._folders(root) for path in folder.glob("*.npz")}
        found = ((name, self.find(name, root)) for name in sorted(stems))
        files = [name for name, path in found if path is not None and self.holds(path)]
        return tuple(dict.fromkeys([*self.known, *files]))

    def describe(self, root: str | None = None) -> tuple[Description, ...]:
        """A line for each of `names`."""
        return tuple(self._described(name, root) for name in self.names(root))

    def find(self, name: str, root: str | None = None) -> Path | None:
        """The file of a name below the root, or None."""
        if not name or Path(name).name != name:
            return None
        places = (folder / f"{name}.npz" for folder in self._folders(root))
        return next((path for path in places if path.is_file()), None)

    def _folders(self, root: str | None) -> list[Path]:
        return [folder for base in roots(root) for folder in (base, base / self.folder)]

    def get(self, name: str, root: str | None = None) -> Path:
        """The file or folder of a name, downloaded where it is not there yet.

        Raises:
            InputError: unknown name, embedded data, or a folder that cannot be written.
            RunError: the download failed.
        """
        known = self.known.get(name)
        if known is not None and known.get is None:
            raise InputError(f"{name}: {known.origin}; there is nothing to download.")
        if found := self.find(name, root):
            return found
        if known is None or known.get is None:
            raise unknown_name(self.what, name, self.names(root))
        return known.get(root)

    def read(
        self, name: str, root: str | None, at: Callable[[Path], T], field: str = "data.name"
    ) -> T:
        """The content of a data set by name or path.

        A name is embedded, or `ROOT/NAME.npz`, or `ROOT/FOLDER/NAME.npz`, or downloaded; anything
        else is a path, which `at` reads. `field` is what messages call the name.

        Raises:
            InputError: neither a name nor a path, or as `at` raises.
            RunError: a download failed.
        """
        known = self.known.get(name)
        if known is not None and known.get is None:
            return known.read(root)
        if found := self.find(name, root):
            return at(found)
        if known is not None:
            return known.read(root)
        path = Path(name).expanduser()
        if path.exists() or path.suffix or Path(name).name != name:  # it can only mean a path
            return at(path)
        raise unknown_name(f"{self.what} or path", name, self.names(root), field)

    def _described(self, name: str, root: str | None) -> Description:
        found, known = self.find(name, root), self.known.get(name)
        if known is None:
            return Description(name, "your file", None, None, None, str(found))
        place = str(found) if found else known.download
        if known.get is None:
            place = "embedded"
        return Description(name, known.about, known.classes, known.shape, known.rows, place)


def roots(root: str | None) -> tuple[Path, ...]:
    """The given root alone, else where named data sets are: $PEERLEARN_DATA, ~/.cache/peerlearn."""
    places = [root] if root else [os.environ.get("PEERLEARN_DATA"), "~/.cache/peerlearn"]
    return tuple(Path(place).expanduser() for place in places if place)


def npz_at(path: Path, otherwise: str, said: str | None = None) -> Path:
    """The path of an `.npz` file as typed; messages call it `said`, and name what else could be.

    Raises InputError: no such file, or one of another kind.
    """
    said = said or f"data.name: {path}"
    if not path.exists():
        raise InputError(f"{said}: no such file or folder.{similar_path(path)}")
    if path.suffix.lower() != ".npz":
        raise InputError(f"{said}: allowed: an .npz file, or {otherwise}.")
    return path


def writable_root(root: str | None) -> Path:
    """The first root that downloads may go to; a folder marked read-only is left alone.

    Raises InputError: there is none.
    """
    candidates = roots(root)
    for base in candidates:
        existing = next(p for p in (base, *base.absolute().parents) if p.exists())
        # The mode bits count for the superuser too, whom `os.access` lets write anywhere.
        if os.access(existing, os.W_OK) and existing.stat().st_mode & 0o222:
            return base
    raise InputError(f"data.root: {candidates[-1]} cannot be written.")
