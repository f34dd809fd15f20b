"""What a node of a Ray cluster does with a cell, and how it tells of it.

A node keeps what it needs for a comparison in one folder of its own: data sets, which it receives
once, and stages that several of its cells share. The driver has it deleted at the end.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from peerlearn.compare.cells import Cell, try_cell
from peerlearn.compare.jobs import thinned
from peerlearn.compare.parcels import packed, unpack
from peerlearn.compare.shared_data import SharedData
from peerlearn.engine.interruption import Interrupted
from peerlearn.errors import InputError, RunError
from peerlearn.files import json_line, read_json, write_json
from peerlearn.locks import Watch, one_at_a_time
from peerlearn.provenance import version_of
from peerlearn.systems.recipe import Recipe


@dataclass(frozen=True)
class Orders:
    """What a node is told with each cell.

    Attributes:
        name: of this comparison, different from those of all others.
        out: its folder where the driver is, for messages.
        folder: in which the driver was started.
        command: that started it.
        version: of peerlearn there.
        cpus, gpus: that Ray keeps free for the cell.
    """

    name: str
    out: str
    folder: str
    command: Sequence[str]
    version: str | None
    cpus: int
    gpus: float


class Board:
    """An actor on which cells write what they do, and the driver, once, that they shall stop."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._stopped = False

    def tell(self, line: str) -> bool:
        """Add an event; whether the cell shall stop."""
        self._lines.append(line)
        return self._stopped

    def heard(self) -> list[str]:
        """All events since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def stop(self) -> None:
        """Let all cells be saved."""
        self._stopped = True


def train(
    recipe: Recipe,
    cell: Cell,
    orders: Orders,
    data: Mapping[str, Any],
    begun: bytes,
    board: Any,
) -> tuple[str, str, bytes]:
    """Train a cell on this node, from where `begun` left it.

    Args:
        data: references of data sets, by the name of their file.
        begun: what the driver has of the cell; empty for nothing.
        board: handle of a `Board`.

    Returns:
        How it ended (`done`, `held`, `stopped`, `input` or `run` for an error), the message of the
        error, and the folder of the run.
    """
    import ray
    from ray.exceptions import RayError

    here = ray.get_runtime_context().get_node_id()
    host = ray.util.get_node_ip_address()
    if (own := version_of("peerlearn")) != orders.version:
        said = f"node {host} has peerlearn {own}, and the driver {orders.version}: install the same"
        return "input", said, b""
    place = _place(orders.name, here)
    out = cell.folder(place)

    def tell(event: Mapping[str, Any]) -> None:
        stop = False
        with suppress(RayError):  # the board's node has died; another will have it
            stop = ray.get(board.tell.remote(json_line(event)))
        if stop:
            signal.raise_signal(signal.SIGUSR1)  # which a training takes between two steps

    with _as_the_driver(orders), _interruptible():
        where = {"arm": cell.arm, "seed": cell.seed, "node": here, "host": host}
        end, said = "stopped", ""
        try:
            tell({"event": "node"} | where)
            if begun and not out.exists():
                unpack(begun, out)
            shared = SharedData(_received(data, place / "data"))
            ended = try_cell(recipe, cell, place, thinned(tell), Watch(), shared)
            end = "done" if ended else "held"
        except InputError as error:
            end, said = "input", str(error)
        except RunError as error:
            end, said = "run", str(error)
        except Interrupted:
            pass
    if end == "held":
        return end, "", b""
    _begun_by_the_driver(out / "env.json", orders)
    parcel = packed(out)
    shutil.rmtree(out, ignore_errors=True)
    return end, said.replace(str(place), orders.out), parcel


def clear(name: str) -> None:
    """Delete what this node has of a comparison."""
    for place in Path(tempfile.gettempdir()).glob(f"peerlearn-{name}-*"):
        shutil.rmtree(place, ignore_errors=True)


def _place(name: str, node: str) -> Path:
    place = Path(tempfile.gettempdir()) / f"peerlearn-{name}-{node[:12]}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place.resolve()


def _received(data: Mapping[str, Any], folder: Path) -> Path:
    """A folder of data sets, which the first cell on this node receives for all."""
    import ray

    folder.mkdir(exist_ok=True)
    for name, reference in data.items():
        path = folder / name
        with one_at_a_time(path.with_suffix(".lock")):
            if not path.exists():
                part = path.with_suffix(".part")
                part.write_bytes(ray.get(reference))
                part.replace(path)
    return folder


@contextmanager
def _as_the_driver(orders: Orders) -> Iterator[None]:
    """As if the cell were trained where the driver is: in its folder, if there is one here."""
    torch.set_num_threads(orders.cpus)
    if not orders.gpus:
        # Others have asked for those of this node. For good: torch asks once in a process.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    before, sys.argv = sys.argv, list(orders.command)
    try:
        with chdir(orders.folder) if Path(orders.folder).is_dir() else nullcontext():
            yield
    finally:
        sys.argv = before


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGUSR1, which nobody else sends here, raises `Interrupted`."""
    from peerlearn.engine.interruption import interrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _begun_by_the_driver(env: Path, orders: Orders) -> None:
    """Keep in which folder relative paths were typed, where this node has none of that name."""
    if env.exists() and (kept := read_json(env)).get("folder") != orders.folder:
        write_json(env, kept | {"folder": orders.folder})
