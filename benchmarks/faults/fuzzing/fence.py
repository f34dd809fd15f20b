"""Sees what a call does outside of itself: files written, processes begun, hosts asked.

Python tells an audit hook of every such thing before it happens. The hook stops what is not
allowed, and keeps a note of it whatever the call makes of being stopped.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from joblib.externals.loky import cpu_count

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Events that change files, and which of their arguments are paths.
CHANGES = {
    "os.mkdir": (0,), "os.remove": (0,), "os.rmdir": (0,), "os.truncate": (0,), "os.link": (1,),
    "os.symlink": (1,), "os.rename": (0, 1), "os.chmod": (0,), "os.utime": (0,),
    "shutil.rmtree": (0,),
}  # fmt: skip
PROCESSES = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
HOSTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")
CANARY = "EXECUTED"


@dataclass
class Fence:
    """Paths that may be written below, and what was done all the same."""

    allowed: tuple[str, ...]
    outside: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        """Refuse what is not allowed."""
        if event == "open":
            path, _, flags = args
            if isinstance(path, str | bytes) and flags & WRITING:
                self._change(path)
        elif event in CHANGES:
            for place in CHANGES[event]:
                there = event == "os.mkdir" and Path(os.fsdecode(args[place])).exists()
                if isinstance(args[place], str | bytes | os.PathLike) and not there:
                    self._change(args[place])
        elif event in PROCESSES:
            self.executed.append(f"{event} {args!r}"[:200])
            raise PermissionError(f"{event} is not allowed here")
        elif event in HOSTS:
            raise OSError("no network here")

    def _change(self, path: Any) -> None:
        name = os.fsdecode(path)
        # A link itself is changed where its folder is, not where it leads.
        full = str(Path(os.path.realpath(Path(name).parent)) / Path(name).name)
        if full == os.devnull or any(map(partial(_is_of, full), self.allowed)):
            return
        (self.executed if Path(name).name == CANARY else self.outside).append(full)
        raise PermissionError(1, "outside of what may be written", name)


def _is_of(full: str, root: str) -> bool:
    """Whether a path is in what may be written, or in its place until it is whole."""
    folder, name = os.path.split(root)
    return f"{full}/".startswith(f"{root}/") or full.startswith(f"{folder}/.{name}.")


_fence: Fence | None = None
_installed = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    fence = _fence
    if fence is not None:
        fence.see(event, args)


@contextmanager
def fenced(allowed: Sequence[Path]) -> Iterator[Fence]:
    """Watch a block; what it may write is below the paths in `allowed`."""
    global _fence, _installed
    if not _installed:  # a hook cannot be taken away again
        cpu_count(only_physical_cores=True)  # asks `lscpu`, once, where scikit-learn wants to know
        sys.addaudithook(_hook)
        _installed = True
    made = Fence(tuple(os.path.realpath(path) for path in allowed))
    _fence = made
    try:
        yield made
    finally:
        _fence = None
