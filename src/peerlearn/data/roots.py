"""The folders where named data sets are looked for and downloaded to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peerlearn.errors import InputError, nearest


def find_named(name: str, root: str | None = None, kind: str = "images") -> Path | None:
    """The `.npz` file of a name in the roots or their folders `kind`, or None."""
    if not name or Path(name).name != name:
        return None
    for folder in _folders(root, kind):
        if (path := folder / f"{name}.npz").is_file():
            return path
    return None


def default_roots() -> tuple[Path, ...]:
    """Where named data sets are looked for: $PEERLEARN_DATA, then ~/.cache/peerlearn."""
    cache = Path("~/.cache/peerlearn").expanduser()
    chosen = os.environ.get("PEERLEARN_DATA")
    return (Path(chosen).expanduser(), cache) if chosen else (cache,)


def roots(root: str | None) -> tuple[Path, ...]:
    """The given root alone, else the default ones."""
    return (Path(root).expanduser(),) if root else default_roots()


def looks_like_path(name: str) -> bool:
    """Whether a name that is nowhere can only have been meant as a path."""
    return Path(name).name != name or Path(name).suffix != ""


def npz_at(path: Path, otherwise: str, said: str | None = None) -> Path:
    """The path of an `.npz` file as typed; messages call it `said`, and name what else could be.

    Raises:
        InputError: no such file, or one of another kind.
    """
    said = said or f"data.name: {path}"
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        match = nearest(path.name, siblings)
        hint = f" Did you mean {path.parent / match}?" if match else ""
        raise InputError(f"{said}: no such file or folder.{hint}")
    if path.suffix.lower() != ".npz":
        raise InputError(f"{said}: allowed: an .npz file, or {otherwise}.")
    return path


def _folders(root: str | None, kind: str) -> list[Path]:
    return [folder for base in roots(root) for folder in (base, base / kind)]


def named_files(root: str | None, kind: str = "images") -> list[str]:
    """Names of the `.npz` files in the roots and their folders `kind`."""
    return sorted({path.stem for folder in _folders(root, kind) for path in folder.glob("*.npz")})


def writable_root(root: str | None) -> Path:
    """The first root that downloads may go to; a folder marked read-only is left alone.

    Raises:
        InputError: there is none.
    """
    candidates = roots(root)
    for base in candidates:
        existing = next(p for p in (base, *base.absolute().parents) if p.exists())
        # The mode bits count for the superuser too, whom `os.access` lets write anywhere.
        if os.access(existing, os.W_OK) and existing.stat().st_mode & 0o222:
            return base
    raise InputError(f"data.root: {candidates[-1]} cannot be written.")


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process at a time through, where the platform has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
