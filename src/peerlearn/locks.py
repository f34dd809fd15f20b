"""One process at a time writes a folder.

A held folder has a file `.lock` in it, made with exclusive creation, which works on every file
system and between the nodes of a cluster; `flock` is missing on some file systems and holds per
node on others. The file names process and host; its holder touches it every few seconds. It is
taken over

- at once, where its holder is known to be dead: a process of this host that was killed, or from
  before a reboot;
- after `LEASE` seconds in which this process saw it unchanged, by its own clock, where that cannot
  be known: on another host, in another container. What the clocks of hosts say is not compared: a
  stamp of an hour ago that moves is a holder that lives.

So nothing needs to be cleaned up by hand after `kill -9`. A holder that was taken for dead, because
it or its file system stood still for so long, notices at its next write and ends. Most of this is
done by filelock's `SoftFileLease`; here is what a run needs around it. It takes locks of the dead
over by exchanging two names, which NFS, Lustre and others refuse; there `_break` does it.
"""

import hashlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
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


SPACE, FIRST_SPACE = "?pidns-", 0xEFFFFFFC
"""What stands before the numbering of processes in a holder's host, and Linux' first numbering."""


class InUseError(InputError):
    """Another process writes the folder."""


Mark = tuple[str, int, int]
"""What changes of a lock when its holder touches it, or another process holds it."""


class Watch:
    """How long this process has seen locks unchanged, by its own clock."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[Mark, float]] = {}
        self._moved: set[Path] = set()

    def look(self, lock: Path) -> tuple[Mark | None, float]:
        """A lock as it is now, and for how many seconds it was seen to be so; None of no lock."""
        mark, now = _mark(lock), time.monotonic()
        if mark is None:
            self._seen.pop(lock, None)
            self._moved.discard(lock)
            return None, 0.0
        before = self._seen.get(lock)
        if before is None or before[0] != mark:
            if before is not None:
                self._moved.add(lock)
            self._seen[lock] = mark, now
            return mark, 0.0
        return mark, now - before[1]

    def moved(self, lock: Path) -> bool:
        """Whether it was seen to change, and not to stand still for `LEASE` seconds since."""
        mark, still = self.look(lock)
        return mark is not None and lock in self._moved and still < LEASE


class Hold:
    """A folder that this process may write."""

    def __init__(self, folder: Path, lease: SoftFileLease) -> None:
        self.folder = folder
        self._lease = lease
        self._text = self._read()

    def check(self) -> None:
        """See that the folder is still this process' to write, before a write that matters.

        Raises RunError: another process has taken it over, or the lock cannot be written any more.
        """
        if self._lease.compromise is None and self._read() == self._text:
            return  # read, for a process that stood still may be here before it is told
        try:  # a file system that was away for a while, or somebody deleted the lock
            self._lease.release(force=True)
            self._lease.acquire(timeout=0)
            self._text = self._read()
        except (Timeout, OSError):
            by = _holder(self._lease) or "the lock cannot be kept"
            raise RunError(
                f"{self.folder}: lost to another process: {by}; this one stops"
            ) from None

    def _read(self) -> str | None:
        mark = _mark(self.folder / LOCK)
        return None if mark is None else mark[0]


@contextmanager
def held(folder: Path, watch: Watch | None = None) -> Iterator[Hold]:
    """Hold `folder`, which is made where there is none, against other processes and threads.

    Within a thread a folder may be held several times over. A folder that was made for this and has
    nothing in it afterwards is taken away again. Whether a silent holder is dead is waited for;
    not with a `watch`, which knows for how long it has been silent.

    Raises:
        InUseError: another process holds it; says which.
        InputError: what should be its lock is no file.
        RunError: the lock cannot be written.
    """
    lease = _lease(folder / LOCK)
    with _made(folder):
        _take(lease, folder, watch)
        try:
            yield Hold(folder, lease)
        finally:
            lease.release()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Take a folder that is made in this block away again, where nothing is in it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        with suppress(OSError):  # deepest first, up to one that is not empty
            for path in made:
                path.rmdir()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with the folder; made and unmade as by `held`.

    It says nothing of who holds the folder or what is in it.

    Raises RunError: the lock cannot be written.
    """
    lock = folder / f"{LOCK}.alone"
    with _made(folder), ExitStack() as holding:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            holding.enter_context(one_at_a_time(lock))
        except OSError as error:
            raise cannot_write(lock, error) from error
        yield


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is in a block with this lock file.

    Raises OSError: it cannot be written.
    """
    lease, watch = _lease(lock), Watch()
    _clear_unsigned(lease)
    while not _taken(lease, watch):
        time.sleep(0.2)
        _clear_unsigned(lease)
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
    return _holder(lease) if abs(_silence(lease, folder)) < 3 * HEARTBEAT else None


@dataclass(frozen=True)
class Holder:
    """Who holds a folder, in words, and whether it gives signs of life; None: nobody knows yet."""

    name: str
    alive: bool | None


def holder(folder: Path, watch: Watch) -> Holder | None:
    """Who holds a folder, as far as this process has seen; None where nobody does.

    Asked again after more than two heartbeats, a `watch` has seen whether it lives.
    """
    path = folder / LOCK
    if path.is_symlink() or not path.is_file():
        return None
    lease = _lease(path)
    owner, (mark, still) = lease.owner, watch.look(path)
    if mark is None or owner is None:
        return None
    name = f"process {owner.pid} on host {owner.hostname.partition('?')[0]}"
    if _ended_here(owner.pid, owner.hostname):
        return Holder(name, False)
    if watch.moved(path) or abs(_silence(lease, folder)) < 3 * HEARTBEAT:
        return Holder(name, True)
    return Holder(name, False if still > 2 * HEARTBEAT else None)


def _ended_here(process: int, host: str) -> bool:
    """Whether it is known to be no process of this host; a number may be another's by now.

    Processes of other containers are numbered apart, which filelock adds to the name of the host.
    """
    name, _, space = host.partition(SPACE)
    if name != socket.gethostname() or space != _own_space():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _own_space() -> str:
    """How filelock names the numbering of processes here; empty of that of the machine itself."""
    try:
        number = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return "" if number == FIRST_SPACE else f"{number:x}"


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


def _take(lease: SoftFileLease, folder: Path, watch: Watch | None) -> None:
    seen, path = watch or Watch(), folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear_unsigned(lease)
        if _taken(lease, seen):
            return
        # Whose stamp is new lives, or has died just now; others are watched, whatever it says.
        end = time.monotonic() + LEASE + 2 * HEARTBEAT
        doubtful = watch is None and abs(_silence(lease, folder)) >= LEASE
        while doubtful and time.monotonic() < end and not seen.moved(path):
            time.sleep(0.2)
            if _taken(lease, seen):
                return
    except OSError as error:
        raise cannot_write(path, error) from error
    raise InUseError(f"{folder}: is being written by {_holder(lease) or 'another process'}")


def _taken(lease: SoftFileLease, watch: Watch) -> bool:
    """Take the lock, if it is free or has been seen silent for too long."""
    path = Path(lease.lock_file)
    mark, still = watch.look(path)
    for broken in (False, True):
        try:
            lease.acquire(timeout=0)
            return True
        except Timeout:
            if broken or mark is None or still < LEASE:
                return False
            _break(path, mark, watch)
    return False


def _break(path: Path, silent: Mark, watch: Watch) -> None:
    """Take a lock of the dead away, if it is still as it was seen; only one process does at a time.

    That is the one which makes a file that is named after the lock's very text.
    """
    turn = path.with_name(f"{path.name}.{hashlib.sha256(silent[0].encode()).hexdigest()[:16]}")
    try:
        turn.touch(exist_ok=False)
    except FileExistsError:
        if watch.look(turn)[1] >= LEASE:  # whose turn it was is dead as well
            turn.unlink(missing_ok=True)
        return
    try:
        if _mark(path) == silent:
            _set_aside(path, lambda aside: (_mark(aside) or ("",))[0] == silent[0])
    finally:
        turn.unlink(missing_ok=True)


def _set_aside(path: Path, is_it: Callable[[Path], bool]) -> None:
    """Take a lock away; put it back where another process was quicker, and holds it now."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    path.rename(aside)
    if not is_it(aside):
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _clear_unsigned(lease: SoftFileLease) -> None:
    """Wait until a lock has a holder's name, or take it away: filelock waits for it forever."""
    path, end = Path(lease.lock_file), time.monotonic() + 2 * UNSIGNED
    with suppress(FileNotFoundError):
        while path.is_file() and not path.stat().st_size and time.monotonic() < end:
            if _silence(lease, path.parent) < UNSIGNED:
                time.sleep(0.1)
                continue
            _set_aside(path, lambda aside: not aside.stat().st_size)


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


def _mark(path: Path) -> Mark | None:
    """A lock as it is now; None where there is none."""
    try:
        with path.open("rb") as file:  # NFS asks its server when a file is opened
            text = file.read(4096).decode("utf-8", "replace")
            stat = os.fstat(file.fileno())
    except OSError:
        return None
    return text, stat.st_mtime_ns, stat.st_ino
