"""Where the cells of a comparison are: done, running and where, dead, waiting."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peerlearn.compare.opening import CELLS, known_cells
from peerlearn.errors import InputError
from peerlearn.files import read_text
from peerlearn.locks import HEARTBEAT, Holder, Watch, holder

State = Literal["done", "running", "dead", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "dead", "waiting")


@dataclass(frozen=True)
class CellState:
    """A cell, and who trains it or did when it ended, in words; `saved` is how far its log goes."""

    arm: str
    seed: int
    state: State
    where: str = ""
    saved: str = ""


def states(out: Path) -> list[CellState]:
    """What is known of every cell that a comparison has been asked for.

    A process on another host whose last sign of life is not new is watched for a few seconds.

    Raises InputError: the folder holds no comparison.
    """
    _check_comparison(out)
    cells, watch = known_cells(out), Watch()
    folders = [out / "cells" / arm / f"seed-{seed}" for arm, seed in cells]
    end = time.monotonic() + 3 * HEARTBEAT
    while True:
        holders = [holder(folder, watch) for folder in folders]
        doubtful = any(who is not None and who.alive is None for who in holders)
        if not doubtful or time.monotonic() > end:
            break
        time.sleep(HEARTBEAT / 5)
    found = zip(cells, folders, holders, strict=True)
    return [_state(arm, seed, folder, who) for (arm, seed), folder, who in found]


def counted(cells: Sequence[CellState]) -> str:
    """`3 done, 1 running, 2 waiting`."""
    numbers = [(state, sum(cell.state == state for cell in cells)) for state in STATES]
    return ", ".join(f"{number} {state}" for state, number in numbers if number)


def _state(arm: str, seed: int, folder: Path, who: Holder | None) -> CellState:
    saved, where = _saved(folder), "" if who is None else who.name
    if who is not None and who.alive:
        return CellState(arm, seed, "running", where, saved)
    if (folder / "results.json").exists():
        return CellState(arm, seed, "done")
    return CellState(arm, seed, "waiting" if who is None else "dead", where, saved)


def _saved(folder: Path) -> str:
    """The last epoch in a log; empty where there is none, or it is being written."""
    log = folder / "metrics.jsonl"
    try:
        last = json.loads(read_text(log).splitlines()[-1])
        return f"{last['stage']} epoch {last['epoch']}/{last['of']}"
    except (InputError, ValueError, LookupError, TypeError):
        return ""


def _check_comparison(out: Path) -> None:
    if not out.is_dir():
        raise InputError(f"{out}: {'is no folder' if out.exists() else 'does not exist'}")
    if (out / "env.json").exists():
        raise InputError(f"{out}: holds a single run, and no comparison")
    if not (out / CELLS).exists() and not (out / "cells").is_dir():
        raise InputError(f"{out}: holds no comparison (no {CELLS})")
