"""How many cells can be trained at once on this machine."""

from collections.abc import Sequence
from typing import Literal

from joblib import cpu_count

from peerlearn.engine.needs import Needs, free_on
from peerlearn.errors import InputError
from peerlearn.launched import launched_together
from peerlearn.memory import available_memory, in_words


def jobs_wanted(jobs: int | Literal["auto"], cells: int) -> int:
    """How many processes are asked for; no more than there are cells, `auto` one a core.

    Raises InputError: fewer than one; or several, of processes that `torchrun` started together.
    """
    if jobs != "auto" and jobs < 1:
        raise InputError(f"--jobs: {jobs}; allowed: 1 or more, or auto")
    if jobs != 1 and launched_together() > 1:
        raise InputError(
            "--jobs: processes that torchrun started together train each cell together; leave "
            "--jobs out, or start the comparison without torchrun"
        )
    return max(1, min(cpu_count() if jobs == "auto" else jobs, cells))


def jobs_that_fit(
    jobs: int | Literal["auto"], wanted: int, needs: Sequence[Needs], process: int
) -> int:
    """How many of the processes that are `wanted` there is memory for; all, if they were asked for.

    Args:
        jobs: what was asked for.
        wanted: see `jobs_wanted`.
        needs: of each arm; the largest counts.
        process: bytes of a process that has imported everything and trains nothing.

    Raises InputError: a number was asked for, and memory is short; says how many there is room for.
    """
    most, short = wanted, ""
    for need in needs:
        rows = need.host.get("rows", 0)  # mapped by all from one copy
        own = sum(need.host.values()) - rows
        places = [(process + own, rows, available_memory(), "this machine")]
        if need.where.type == "cpu":
            places = [(process + own + sum(need.device.values()), *places[0][1:])]
        else:
            places.append((sum(need.device.values()), 0, free_on(need.where), str(need.where)))
        for each, once, free, name in places:
            if free is None or each * wanted + once <= free:
                continue
            room = max(0, free - once) // max(each, 1)
            if room < most:
                most = room
                short = (
                    f"{wanted} processes need about {in_words(each * wanted + once)} without "
                    f"activations, {in_words(each)} each; {name} has {in_words(free)}, which is "
                    f"enough for {max(1, room)}"
                )
    if short and jobs != "auto":
        raise InputError(f"--jobs: {short}")
    return max(1, most)
