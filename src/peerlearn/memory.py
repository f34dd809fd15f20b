"""How much memory there is, so that what cannot fit is refused before it is taken."""

import math
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from peerlearn.errors import InputError

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
OWN_PAGES = Path("/proc/self/statm")
GROUPS = Path("/sys/fs/cgroup")
"""Where control groups are: those of containers, and of the jobs of a cluster."""


def available_memory() -> int | None:
    """Bytes that a process may still take on this machine or in its container; None: unknown."""
    found = [it for it in (_of_the_machine(), *map(_left_in, _groups())) if it is not None]
    return min(found) if found else None


def own_memory() -> int:
    """Bytes that this process holds now; at most as many as it ever held, where that is unknown."""
    try:
        pages = int(OWN_PAGES.read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


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


def _groups() -> Iterator[Path]:
    """The groups that this process is in, each within the next, of both versions of groups."""
    yield from (GROUPS, GROUPS / "memory")
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        kinds, _, path = line.partition(":")[2].partition(":")
        if kinds in ("", "memory"):
            group = GROUPS / kinds / path.lstrip("/")
            yield from (each for each in (group, *group.parents) if GROUPS in each.parents)


def _left_in(group: Path) -> int | None:
    """What a group may still take; files that are kept in memory make room where it is needed."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            most, now = (int((group / name).read_text(encoding="utf-8")) for name in (limit, used))
        except (OSError, ValueError):  # no such file; "max": no limit
            continue
        return max(0, most - max(0, now - _cached(group)))
    return None


def _cached(group: Path) -> int:
    try:
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        stat = dict(line.split(maxsplit=1) for line in lines)
        below = "total_" if "total_inactive_file" in stat else ""  # groups within it
        return sum(int(stat.get(f"{below}{name}_file", 0)) for name in ("inactive", "active"))
    except (OSError, ValueError):
        return 0
