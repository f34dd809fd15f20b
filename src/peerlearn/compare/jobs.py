"""Cells side by side, each in a process of its own, on one machine.

The processes are those of joblib's loky: started once, they train cell after cell, with their share
of the cores. Each has an executor of its own, for loky gives up all processes of an executor where
one of them is killed. The cell of one that is killed is tried a second time, from where it was
saved. What a process tells of its cell comes as lines of a file, which a killed one cannot spoil
for the others.
"""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from joblib import cpu_count
from joblib.externals.loky import BrokenProcessPool, Future, ProcessPoolExecutor, wait

from peerlearn.compare.cells import Cell, Observe, all_in_good_hands, try_cell
from peerlearn.compare.shared_data import SharedData
from peerlearn.engine.interruption import UNFINISHED, Interrupted, interrupt_at_once
from peerlearn.errors import RunError
from peerlearn.files import json_line
from peerlearn.locks import Watch
from peerlearn.systems.recipe import Recipe

LOOK = 0.1
"""Seconds between looks at what processes have to tell."""
LOOK_AGAIN = 1.0
"""Seconds between looks at cells that other programs train."""
TOLD_EVERY = 0.2
"""Seconds between two steps of a cell that are told of."""
TRIES = 2
"""How often a cell may be begun whose process dies."""
TRAINING = threading.Event()
"""Whether this process trains a cell."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Orders:
    """What a process is told with each cell."""

    out: Path
    data: SharedData
    threads: int
    command: Sequence[str]


def train(recipe: Recipe, cell: Cell, orders: Orders, told: Path) -> bool | Interrupted:
    """Train a cell in this process, which does nothing else; events go to the file `told`.

    False where another program holds the cell; how it was interrupted, where it was.
    """
    torch.set_num_threads(orders.threads)
    sys.argv = list(orders.command)  # which runs keep, to be told of
    interrupt_at_once()
    TRAINING.set()
    try:
        with told.open("a", encoding="utf-8") as lines:

            def tell(event: Mapping[str, Any]) -> None:
                lines.write(json_line(event))
                lines.flush()

            tell({"event": "process", "number": os.getpid()})
            observe, watch = thinned(tell), Watch()
            return try_cell(recipe, cell, orders.out, observe, watch, orders.data)
    except KeyboardInterrupt as stop:
        return stop if isinstance(stop, Interrupted) else Interrupted(signal.SIGINT)
    finally:
        TRAINING.clear()


def _get_ready(parent: int, place: Path) -> None:
    """In a new process: signals of the terminal go to its parent, which passes them on.

    Where the parent is killed, so that nobody waits for the process, it saves and ends, and takes
    away the place of what they share.
    """
    if hasattr(os, "setpgrp") and os.getpgrp() != os.getpid():
        os.setpgrp()
    threading.Thread(target=_end_when_left, args=(parent, place), daemon=True).start()


def _end_when_left(parent: int, place: Path) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    shutil.rmtree(place, ignore_errors=True)  # what is mapped of it stays until nobody needs it
    if TRAINING.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    while TRAINING.is_set():
        time.sleep(0.1)
    os._exit(UNFINISHED)


def thinned(observe: Callable[[Mapping[str, Any]], None]) -> Observe:
    """Of the steps, only the first and a few every second."""
    told = 0.0

    def some(event: Mapping[str, Any]) -> None:
        nonlocal told
        now = time.monotonic()
        if event["event"] == "step" and now - told < TOLD_EVERY:
            return
        told = now if event["event"] == "step" else 0.0
        observe(event)

    return some


@dataclass
class Seat:
    """A process that trains a cell at a time, and what it was heard to say."""

    told: Path
    threads: int
    cell: Cell | None = None
    future: "Future[Any] | None" = None
    process: int | None = None
    heard: int = 0
    executor: ProcessPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start a process, which has everything imported when its first cell comes."""
        env = dict.fromkeys(THREADS, str(self.threads))
        self.executor = ProcessPoolExecutor(max_workers=1, env=env)
        self.executor.submit(_get_ready, os.getpid(), self.told.parent)

    def begin(self, recipe: Recipe, cell: Cell, orders: Orders) -> None:
        """Train a cell."""
        self.cell, self.process = cell, None
        self.future = self.executor.submit(train, recipe, cell, orders, self.told)

    def events(self) -> Iterator[dict[str, Any]]:
        """What was told since."""
        if not self.told.exists():
            return
        with self.told.open("rb") as lines:
            lines.seek(self.heard)
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # the rest is to come
                self.heard += len(line)
                event = json.loads(line)
                if event["event"] == "process":
                    self.process = event["number"]
                else:
                    yield event

    def start_again(self) -> None:
        """After the process has died: what it was writing then is no line."""
        self.executor.shutdown(wait=False, kill_workers=True)
        self.told.unlink(missing_ok=True)
        self.heard = 0
        self.start()

    def ask_to_stop(self, number: int) -> None:
        """Let a signal reach the process."""
        if self.process is not None and self.future is not None and not self.future.done():
            with suppress(ProcessLookupError):
                os.kill(self.process, number)


class Jobs:
    """Hands cells out to processes until all are finished.

    Args:
        number: of processes.
        observe: is told of the events of all cells.
    """

    def __init__(self, recipe: Recipe, out: Path, number: int, observe: Observe) -> None:
        self.recipe, self.out, self.number, self.observe = recipe, out, number, observe
        self.threads = max(1, cpu_count() // number)
        self._seats: list[Seat] = []
        self._begun: Counter[str] = Counter()  # how often, by the name of the cell

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """Processes that get ready while this block goes on, and a place for their data."""
        with tempfile.TemporaryDirectory(prefix="peerlearn-") as place:
            folder = Path(place)
            self.data = SharedData(folder)
            try:
                for number in range(self.number):
                    self._seats.append(Seat(folder / f"{number}.jsonl", self.threads))
                yield self
            finally:
                for seat in self._seats:
                    seat.executor.shutdown(wait=True, kill_workers=True)

    def reduce(self, number: int) -> None:
        """Go on with fewer processes than were started."""
        while len(self._seats) > number:
            self._seats.pop().executor.shutdown(wait=False, kill_workers=True)

    def train(self, cells: Sequence[Cell], patient: bool = True) -> None:
        """Train the cells that are free; as `in_turn` does.

        Raises InputError, RunError: of the first cell that fails; the others are saved and left.
        """
        try:
            self._train(cells, patient)
        except BaseException as error:
            self._stop(error)
            raise

    def _train(self, cells: Sequence[Cell], patient: bool) -> None:
        orders = Orders(self.out, self.data, self.threads, tuple(sys.argv))
        waiting, held = deque(cells), deque[Cell]()
        watch, again = Watch(), 0.0
        while waiting or held or self._busy():
            if held and time.monotonic() > again:
                if not (waiting or self._busy() or patient) and all_in_good_hands(
                    held, self.out, watch
                ):
                    return
                waiting.extend(held)
                held.clear()
            for seat in self._seats:
                if seat.future is None and waiting:
                    seat.begin(self.recipe, waiting.popleft(), orders)
            for seat in self._waited():
                cell = seat.cell
                assert cell is not None, "a seat with a future has a cell"
                outcome = self._outcome(seat, cell)
                if outcome == "held":
                    held.append(cell)
                    again = time.monotonic() + LOOK_AGAIN
                elif outcome == "died":
                    waiting.appendleft(cell)

    def _busy(self) -> bool:
        return any(seat.future is not None for seat in self._seats)

    def _waited(self) -> list[Seat]:
        """Seats whose cells are over, after a moment; what all of them tell is passed on."""
        futures = [seat.future for seat in self._seats if seat.future is not None]
        if futures:
            wait(futures, timeout=LOOK, return_when="FIRST_COMPLETED")
        else:
            time.sleep(LOOK)
        over = [seat for seat in self._seats if seat.future is not None and seat.future.done()]
        for seat in self._seats:
            for event in seat.events():
                self.observe(event)
        return over

    def _outcome(self, seat: Seat, cell: Cell) -> Literal["done", "held", "died"]:
        future, seat.future = seat.future, None
        assert future is not None, "asked of those that are over"
        try:
            trained = future.result()
        except BrokenProcessPool as error:
            self._died(seat, cell, error)
            return "died"
        if isinstance(trained, Interrupted):
            raise trained
        return "done" if trained else "held"

    def _died(self, seat: Seat, cell: Cell, error: BrokenProcessPool) -> None:
        """Start a process again, for a cell that has not had its tries.

        Raises RunError: it has.
        """
        self._begun[cell.name] += 1
        codes = re.search(r"\{(.*)\}", str(error))
        how = codes[1] if codes else "for no reason that is known"
        if self._begun[cell.name] >= TRIES:
            raise RunError(
                f"arm {cell.arm!r}, seed {cell.seed}: its process died {TRIES} times ({how}); "
                "where that is SIGKILL, memory may have run out: fewer --jobs need less"
            )
        text = f"its process died ({how}); begun a second time, from where it was saved"
        self.observe({"event": "note", "arm": cell.arm, "seed": cell.seed, "text": text})
        seat.start_again()

    def _stop(self, error: BaseException) -> None:
        """Let all cells be saved; a second signal to this process waits for none."""
        number = error.number if isinstance(error, Interrupted) else signal.SIGTERM
        number = signal.SIGTERM if number == signal.SIGINT else number
        asked = set[int]()
        while self._busy():
            for seat in self._seats:
                for _ in seat.events():
                    pass
                if seat.process is not None and seat.process not in asked:
                    seat.ask_to_stop(number)
                    asked.add(seat.process)
                if seat.future is not None and seat.future.done():
                    seat.future = None
            time.sleep(LOOK)
