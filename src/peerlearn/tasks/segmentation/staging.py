"""Folders that get all of their files or none."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from peerlearn.errors import InputError
from peerlearn.files import cannot_write


class Staging:
    """Files on their way into a folder.

    Args:
        folder: where they are made.
        out: where they will go.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder = folder
        self.out = out
        self.names: dict[str, str | None] = {}
        self.read: set[Path] = set()

    def path(self, name: str, source: str | None = None) -> Path:
        """Where to write a file.

        Args:
            name: of the file, with `/` between folders.
            source: the file that it is made of, which is never overwritten; None for none.

        Raises:
            InputError: the name is taken by another file of the same folder, or by a source.
        """
        if name in self.names:
            raise InputError(
                f"--out {self.out}: {name} would be made of {self.names[name]} and of {source}; "
                "predict them into folders of their own"
            )
        self.names[name] = source
        if source is not None:
            self.read.add(Path(source).resolve())
        self._check_inputs([name])
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self) -> None:
        """Move everything into place, replacing what has the same name.

        Raises:
            InputError: a source would be replaced; nothing was moved.
        """
        self._check_inputs(self.names)
        if not self.out.exists():
            self.folder.chmod(0o755)
            self.folder.rename(self.out)
            return
        for name in self.names:
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).replace(self.out / name)

    def _check_inputs(self, names: Iterable[str]) -> None:
        for name in names:
            if (self.out / name).resolve() in self.read:
                raise InputError(
                    f"--out {self.out}: {self.out / name} is an input, and would be overwritten; "
                    "name another folder"
                )


@contextmanager
def filled(out: Path) -> Iterator[Staging]:
    """Run a block that makes files for the folder `out`; if it fails, there are none of them.

    Raises:
        RunError: a file cannot be written.
    """
    folder: Path | None = None
    try:
        # Within `out` where it is there: it may be a disk of its own, to which nothing is renamed.
        beside = out if out.exists() else out.parent
        beside.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=beside))
        staging = Staging(folder, out)
        yield staging
        staging.publish()
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
