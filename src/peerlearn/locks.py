"""One process at a time writes a folder.

A held folder has a file `.lock` in it, made with exclusive creation, which works on every file
system and between the nodes of a cluster; `flock` is missing on some file systems and holds per
node on others. The file names process and host; its holder touches it every few seconds. It is
taken over

- at once, where its holder is known to be dead: a process of this host that was killed, or from
  before a reboot;
- after `LEASE` seconds without a touch, where that cannot be known: on another host, in another
  container.

So nothing needs to be cleaned up by hand after `kill -9`. A holder that was taken for dead, because
it or its file system stood still for so long, notices at its next write and ends. All of this is
done by filelock's `SoftFileLease`; here is what a run needs around it.
"""

import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from peerlearn.errors import InputError, RunError
from peerlearn.files import cannot_write, resolved

LOCK = ".lock"
LEASE = 30.0
"""Seconds without a sign of life after which a holder counts as dead."""
HEARTBEAT = 5.0
"""Seconds between two signs of life."""
UNSIGNED = 5.0
"""Seconds after which a lock without a holder's name is taken away: who made it was killed before
it could write its name, which takes a moment."""


class InUseError(InputError):
    """Another process writes the folder."""


class Hold:
    """A folder that this process may write."""

    def __init__(self, folder: Path, lease: SoftFileLease) -> None:
        self.folder = folder
        self._lease = lease

    def check(self) -> None:
        """See that the folder is still this process' to write, before a write that matters.

        Raises RunError: another process has taken it over, or the lock cannot be written any more.
        """
        if self._lease.compromise is None:
            return
        try:  # a file system that was away for a while, or somebody deleted the lock
            self._lease.release(force=True)
            self._lease.acquire(timeout=0)
        except (Timeout, OSError):
            by = _holder(self._lease) or "the lock cannot be kept"
            raise RunError(
                f"{self.folder}: lost to another process: {by}; this one stops"
            ) from None


@contextmanager
def held(folder: Path) -> Iterator[Hold]:
    """Hold `folder`, which is made where there is none, against other processes and threads.

    Within a thread a folder may be held several times over. A folder that was made for this and has
    nothing in it afterwards is taken away again.

    Raises:
        InUseError: another process holds it; says which.
        InputError: what should be its lock is no file.
        RunError: the lock cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lease = _lease(folder / LOCK)
    try:
        _take(lease, folder)
        try:
            yield Hold(folder, lease)
        finally:
            lease.release()
    finally:
        with suppress(OSError):  # deepest first, up to one that is not empty
            for path in made:
                path.rmdir()


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is in a block with this lock file.

    Raises OSError: it cannot be written.
    """
    lease = _lease(lock)
    while True:
        _clear_unsigned(lease)
        try:
            lease.acquire(timeout=LEASE)
            break
        except Timeout:
            continue
    try:
        yield
    finally:
        lease.release()


def in_use(folder: Path) -> str | None:
    """Who writes a folder now, in words; None where nobody has given a sign of life lately."""
    path = folder / LOCK
    if path.is_symlink() or not path.is_file():
        return None
    lease = _lease(path)
    return _holder(lease) if _silence(lease, folder) < 3 * HEARTBEAT else None


def is_lock(path: Path) -> bool:
    """Whether a file is there only because its folder is, or was, held."""
    return path.name.startswith(LOCK)


def _lease(path: Path) -> SoftFileLease:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        # It would never be heard of again, and so be waited for without an end.
        raise InputError(f"{path}: is no lock, but a link, a folder or a device; delete it")
    # One object a path and thread: so a folder can be held again by who holds it.
    return SoftFileLease(
        resolved(path.parent) / path.name,
        lease_duration=LEASE,
        heartbeat_interval=HEARTBEAT,
        is_singleton=True,
        poll_interval=0.2,
    )


def _take(lease: SoftFileLease, folder: Path) -> None:
    for patience in (0, LEASE + HEARTBEAT):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _clear_unsigned(lease)
            lease.acquire(timeout=patience)
            return
        except Timeout:
            # Taken over only once it was seen to be silent for so long; who was heard of since is
            # not waited for.
            if patience or _silence(lease, folder) < LEASE:
                break
        except OSError as error:
            raise cannot_write(folder / LOCK, error) from error
    raise InUseError(f"{folder}: is being written by {_holder(lease) or 'another process'}")


def _clear_unsigned(lease: SoftFileLease) -> None:
    """Wait until a lock has a holder's name, or take it away: filelock waits for it forever."""
    path, end = Path(lease.lock_file), time.monotonic() + 2 * UNSIGNED
    with suppress(FileNotFoundError):
        while path.is_file() and not path.stat().st_size and time.monotonic() < end:
            if _silence(lease, path.parent) < UNSIGNED:
                time.sleep(0.1)
                continue
            aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            path.rename(aside)
            if aside.stat().st_size:  # another process was quicker, and holds it now
                with suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()


def _holder(lease: SoftFileLease) -> str | None:
    owner = lease.owner
    if owner is None:
        return None
    with suppress(OSError):
        seconds = max(0.0, time.time() - Path(lease.lock_file).stat().st_mtime)
        host = owner.hostname.partition("?")[0]
        return f"process {owner.pid} on host {host} (last sign of life {seconds:.0f} s ago)"
    return None


def _silence(lease: SoftFileLease, folder: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system."""
    try:
        with tempfile.NamedTemporaryFile(prefix=LOCK, dir=folder) as fresh:
            now = Path(fresh.name).stat().st_mtime
        return now - Path(lease.lock_file).stat().st_mtime
    except OSError:
        return 0.0
