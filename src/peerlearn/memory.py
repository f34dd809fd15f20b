"""How much memory there is, so that what cannot fit is refused before it is taken."""

import math
import os
from pathlib import Path

from peerlearn.errors import InputError

MEMINFO = Path("/proc/meminfo")
GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Limits of a container and what it uses, of the second and the first version of control groups."""


def available_memory() -> int | None:
    """Bytes that a process may still take on this machine or in this container; None: unknown."""
    found = [it for it in (_of_the_machine(), *map(_left_in_group, GROUPS)) if it is not None]
    return min(found) if found else None


def check_memory(needed: int, what: str) -> None:
    """InputError where `needed` bytes are more than there are; `what` begins the message."""
    there = available_memory()
    if there is not None and needed > there:
        raise InputError(
            f"{what}: needs {in_words(needed)} of memory, and {in_words(there)} are available"
        )


def in_words(size: int) -> str:
    """Bytes in a unit that suits them: "3.6 GB"."""
    if size < 1000:
        return f"{size} bytes"
    power = min(4, int(math.log(size, 1000)))
    amount = size / 1000**power
    said = f"{amount:.3g}" if amount < 1000 else f"{amount:,.0f}"
    return f"{said} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def _of_the_machine() -> int | None:
    try:
        for line in MEMINFO.read_text(encoding="utf-8").splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # not on every system
        return None


def _left_in_group(files: tuple[Path, Path]) -> int | None:
    try:
        limit, used = (int(file.read_text(encoding="utf-8")) for file in files)
    except (OSError, ValueError):  # no such file; "max": no limit
        return None
    return max(0, limit - used)
