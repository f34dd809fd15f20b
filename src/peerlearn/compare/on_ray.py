"""Cells of a comparison on the nodes of a Ray cluster.

Every cell is a task with a request for CPUs and GPUs. Nodes and driver need not share a folder:
what a cell trains on travels to a node once, what it has written comes back as a parcel of files,
which the driver puts into the comparison's folder. The driver holds the cells that it has handed
out, as a process does that trains them itself, so other processes may work on the same folder.

Ray trusts whoever reaches a cluster: a node runs what a driver sends, and may answer with anything.
"""

import json
import math
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from peerlearn.compare.cells import Cell, Observe
from peerlearn.compare.parcels import packed, unpack
from peerlearn.compare.ray_node import Board, Orders, clear, train
from peerlearn.compare.shared_data import SharedData
from peerlearn.engine.description import Facts
from peerlearn.engine.interruption import SIGNALS
from peerlearn.errors import InputError, RunError, unknown_name
from peerlearn.locks import Hold, InUseError, Watch, held
from peerlearn.provenance import version_of
from peerlearn.systems.recipe import Recipe

LOOK = 0.3
"""Seconds between looks at what nodes have to tell."""
LOOK_AGAIN = 1.0
"""Seconds between looks at cells that other programs train."""
REACHED = 10.0
"""Seconds in which something must answer at the address of a cluster."""
GRACE = 120.0
"""Seconds for which there may be no node that has room for a cell."""
SAVED = 60.0
"""Seconds in which cells are to be saved that are asked to stop."""
TRIES = {"process": 3, "node": 10}
"""How often a cell may be begun, by what dies meanwhile; nodes that are lent come and go."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The first words of HTTP/2, which gRPC speaks: a preface and a frame of settings (RFC 9113, 3.4).
A server answers with such a frame, whose fourth byte is its type."""
_ADDRESS = re.compile(r"(ray://)?[^\s:/@]+:[0-9]{1,5}")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what is asked of it for every cell.

    Attributes:
        address: `HOST:PORT`, or `ray://HOST:PORT` for a Ray client; empty for the cluster of this
            machine, or that of the variable `RAY_ADDRESS`.
        cpus: of a cell; None for as many as it has `threads`, or one.
        gpus: of a cell, such as 0.5 for two cells at a time on each; None for one where its
            `device` is not the CPU, `auto` if any node has one.
    """

    address: str = ""
    cpus: int | None = None
    gpus: float | None = None

    @classmethod
    def typed(cls, cluster: str, cpus: int | None = None, gpus: float | None = None) -> Self:
        """From `ray[:ADDRESS]`. Raises InputError: another form; says what is allowed."""
        kind, separator, address = cluster.partition(":")
        if kind != "ray":
            raise unknown_name("kind of cluster", kind, ["ray"], "--cluster")
        if separator and not _ADDRESS.fullmatch(address):
            raise InputError(
                f"--cluster {cluster}: {address!r} is no address; expected ray, ray:HOST:PORT or "
                "ray:ray://HOST:PORT"
            )
        if cpus is not None and cpus < 1:
            raise InputError(f"--cpus: {cpus}; allowed: 1 or more")
        if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and gpus == math.floor(gpus))):
            raise InputError(f"--gpus: {gpus:g}; allowed: 0 to 1, or a whole number")
        return cls(address, cpus, gpus)

    def request(self, config: Any, nodes: "Sequence[Mapping[str, float]]") -> dict[str, float]:
        """What a cell asks for, of `nodes` with so much of each resource.

        Raises InputError: more than any of them has.
        """
        there = any(node.get("GPU", 0) >= 1 for node in nodes)
        wanted = config.device != "cpu" and (config.device != "auto" or there)
        asked = {
            "CPU": self.cpus or config.threads or 1,
            "GPU": float(wanted) if self.gpus is None else self.gpus,
        }
        if not any(_room(node, asked) for node in nodes):
            found = "; ".join(sorted({_said(node) for node in nodes})) or "none"
            raise InputError(
                f"--cluster: a cell asks for {_said(asked)}, and no node has so many; nodes have: "
                f"{found}. To lower: --cpus (or threads) and --gpus (or device)"
            )
        return asked


def _room(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    """For how many cells at once."""
    return min(int(node.get(name, 0) / number) for name, number in asked.items() if number)


def _said(resources: Mapping[str, float]) -> str:
    return " and ".join(
        f"{resources.get(name, 0):g} {name}{'' if resources.get(name, 0) == 1 else 's'}"
        for name in ("CPU", "GPU")
    )


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected to the cluster within this block; a connection that is there is used.

    Raises InputError: Ray is not installed, or nothing answers at the address.
    """
    try:
        import ray
    except ImportError:
        raise InputError('--cluster: needs Ray: pip install "peerlearn[cluster]"') from None
    if ray.is_initialized():
        yield ray
        return
    if cluster.address:
        _check_answered(cluster.address)
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
    try:
        ray.init(address=cluster.address or "auto", log_to_driver=False, logging_level="error")
    except Exception as error:  # of many kinds, by what is wrong
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise InputError(
            f"--cluster ray{cluster.address and ':'}{cluster.address}: no Ray cluster can be used "
            f"there ({reason}); `ray start --head` begins one, `ray status` says whether this "
            "machine is part of it"
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray has its own
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answered(address: str) -> None:
    """See that a server of gRPC is there, which Ray would wait for and then end this process.

    Raises InputError: it is not.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=REACHED) as line:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            line.sendall(HELLO)
            said = line.recv(9)
    except (OSError, OverflowError) as error:
        found = f"nothing answers there ({getattr(error, 'strerror', None) or error})"
    else:
        if said[3:4] == HELLO[-6:-5]:
            return
        found = "what answers there is no Ray cluster"
    told = "expected the address that `ray start --head` tells"
    raise InputError(f"--cluster ray:{address}: {found}; {told}")


@dataclass
class Flight:
    """A cell that a node has been asked to train."""

    cell: Cell
    hold: Hold
    holding: ExitStack
    node: str = ""
    host: str = "unknown"


@dataclass
class RayCells:
    """Hands cells to the nodes of a cluster until all are finished.

    Made by `ready`.
    """

    recipe: Recipe
    out: Path
    observe: Observe
    cluster: Cluster
    ray: Any
    data: SharedData
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _flying: dict[Any, Flight] = field(default_factory=dict)
    _asked: dict[str, dict[str, float]] = field(default_factory=dict)  # by arm
    _deaths: Counter[tuple[str, str]] = field(default_factory=Counter)  # by cell and what died
    _used: set[str] = field(default_factory=set)  # nodes that have trained cells
    _sent: dict[str, Any] = field(default_factory=dict)  # references of data sets by file

    @classmethod
    @contextmanager
    def ready(cls, recipe: Recipe, out: Path, cluster: Cluster, observe: Observe) -> Iterator[Self]:
        """A connection to the cluster for this block, and a place for data that travel."""
        with (
            connected(cluster) as ray,
            tempfile.TemporaryDirectory(prefix="peerlearn-") as place,
        ):
            team = cls(recipe, out, observe, cluster, ray, SharedData(Path(place)))
            try:
                yield team
            finally:
                team._clear()

    def check(self, cells: Sequence[Cell]) -> None:
        """Settle what cells ask for. Raises InputError: more than any node has."""
        nodes = list(self._nodes().values())
        for cell in cells:
            if cell.arm not in self._asked:
                self._asked[cell.arm] = self.cluster.request(cell.config, nodes)

    def told(self, facts: Facts) -> Facts:
        """What is known of an arm, which says where it is trained."""
        asked = {_said(each) for each in self._asked.values()}
        lines = [f"{each} of a node, for each cell" for each in sorted(asked)]
        return {word: lines if word == "device" else said for word, said in facts.items()}

    def train(self, cells: Sequence[Cell]) -> None:
        """Train the cells that are free until all are finished.

        Raises InputError, RunError: of the first cell that fails; the others are saved and left.
        """
        self.board = self._board()
        self._common = self.ray.put(self.recipe)  # with rows of which it consists, once
        try:
            self._train(cells)
        except BaseException:
            self._stop()
            raise

    def _train(self, cells: Sequence[Cell]) -> None:
        waiting, elsewhere = deque(cells), deque[Cell]()
        watch, again, had_room = Watch(), 0.0, time.monotonic()
        while waiting or elsewhere or self._flying:
            if elsewhere and time.monotonic() > again:
                waiting.extend(elsewhere)
                elsewhere.clear()
            if room := self._room():
                had_room = time.monotonic()
            elif time.monotonic() - had_room > GRACE:
                raise RunError(f"--cluster: for {GRACE:.0f} s no node has had room for a cell")
            while waiting and len(self._flying) < room:
                cell = waiting.popleft()
                if cell.finished(self.out):
                    self._tell_finished(cell)
                elif not self._send(cell, watch):
                    elsewhere.append(cell)
                    again = time.monotonic() + LOOK_AGAIN
            for reference in self._waited():
                if cell_again := self._landed(reference):
                    waiting.appendleft(cell_again)

    def _room(self) -> int:
        """How many cells may be handed out: twice as many as are trained at once.

        So that nodes do not wait, and a cluster that grows sees for what.
        """
        nodes = self._nodes().values()
        return max(2 * sum(_room(node, asked) for node in nodes) for asked in self._asked.values())

    def _nodes(self) -> dict[str, dict[str, float]]:
        """What each node that lives has of each resource."""
        return {it["NodeID"]: it["Resources"] for it in self.ray.nodes() if it["Alive"]}

    def _tell_finished(self, cell: Cell) -> None:
        where = {"arm": cell.arm, "seed": cell.seed}
        self.observe({"event": "cell", "epochs": cell.config.epochs} | where)
        self.observe({"event": "cell done"} | where)

    # To a node ---------------------------------------------------------------------------------

    def _send(self, cell: Cell, watch: Watch) -> bool:
        """Hand a cell out; False where another process holds it."""
        with ExitStack() as holding:
            try:
                hold = holding.enter_context(held(cell.folder(self.out), watch))
            except InUseError:
                return False
            asked = self._asked[cell.arm]
            folder = str(Path.cwd())
            orders = Orders(
                name=self.name,
                out=str(self.out),
                folder=folder,
                command=tuple(sys.argv),
                version=version_of("peerlearn"),
                cpus=int(asked["CPU"]),
                gpus=asked["GPU"],
            )
            begun = packed(cell.folder(self.out)) if self._begun_before(cell) else b""
            task = self.ray.remote(train).options(
                num_cpus=asked["CPU"],
                num_gpus=asked["GPU"],
                max_retries=0,  # told of and counted here
                name=f"peerlearn {cell.name}",
            )
            reference = task.remote(
                self._common, cell, orders, self._travelling(cell), begun, self.board
            )
            self._flying[reference] = Flight(cell, hold, holding.pop_all())
        return True

    def _begun_before(self, cell: Cell) -> bool:
        return (cell.folder(self.out) / "config.yaml").exists()

    def _travelling(self, cell: Cell) -> dict[str, Any]:
        """References of what the cell trains on, by the name of the file; read once, put once."""
        paths = self.data.kept(self.recipe, cell.config)
        for path in paths:
            if path.name not in self._sent:
                self._sent[path.name] = self.ray.put(path.read_bytes())
        return {path.name: self._sent[path.name] for path in paths}

    def _board(self) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self.ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(here, soft=True)
        return self.ray.remote(Board).options(num_cpus=0, scheduling_strategy=strategy).remote()

    # From a node -------------------------------------------------------------------------------

    def _waited(self) -> list[Any]:
        """Cells that are over, after a moment; what all of them tell is passed on."""
        if self._flying:
            over, _ = self.ray.wait(list(self._flying), num_returns=1, timeout=LOOK)
        else:
            over = []
            time.sleep(LOOK)
        for line in self.ray.get(self.board.heard.remote()):
            event = json.loads(line)
            if event["event"] == "node":
                self._where(event)
            self.observe(event)
        return list(over)

    def _where(self, event: Mapping[str, Any]) -> None:
        self._used.add(event["node"])
        for flight in self._flying.values():
            if (flight.cell.arm, flight.cell.seed) == (event["arm"], event["seed"]):
                flight.node, flight.host = event["node"], event["host"]

    def _landed(self, reference: Any) -> Cell | None:
        """Take in what a node has made of a cell; the cell, where it is to be trained again."""
        from ray.exceptions import NodeDiedError, RayError, RayTaskError

        flight = self._flying.pop(reference)
        named = f"arm {flight.cell.arm!r}, seed {flight.cell.seed}"
        with flight.holding:
            try:
                end, said, parcel = self.ray.get(reference)
            except RayTaskError as error:
                reason = str(error.cause or error).strip().splitlines()[-1]
                raise RunError(
                    f"{named}: on node {flight.host}: {type(error.cause).__name__}: {reason}"
                ) from error
            except RayError as error:
                gone = isinstance(error, NodeDiedError) or self._is_gone(flight.node)
                self._died(flight, error, "node" if gone else "process")
                return flight.cell
            flight.hold.check()
            if parcel:
                unpack(parcel, flight.cell.folder(self.out))
        if end in ("input", "run"):
            raise (InputError if end == "input" else RunError)(said)
        return flight.cell if end == "held" else None

    def _is_gone(self, node: str) -> bool:
        return bool(node) and node not in self._nodes()

    def _died(self, flight: Flight, error: Exception, what: Literal["node", "process"]) -> None:
        """Say why a cell begins again.

        Raises RunError: it has had its tries.
        """
        cell, why = flight.cell, (str(error) or type(error).__name__).strip().splitlines()[0]
        self._deaths[cell.name, what] += 1
        said = "its node" if what == "node" else "its process"
        if self._deaths[cell.name, what] >= TRIES[what]:
            raise RunError(
                f"arm {cell.arm!r}, seed {cell.seed}: {said} died {TRIES[what]} times, last on "
                f"{flight.host}: {why}"
            )
        text = f"{said} ({flight.host}) died; begun again. Ray says: {why}"
        self.observe({"event": "note", "arm": cell.arm, "seed": cell.seed, "text": text})

    # The end -----------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Let cells be saved that are being trained, and take in how far they are."""
        from ray.exceptions import RayError

        with suppress(RayError):
            self.ray.get(self.board.stop.remote(), timeout=SAVED)
        end = time.monotonic() + SAVED
        for reference, flight in list(self._flying.items()):
            with flight.holding, suppress(RayError, InputError, RunError):
                if not flight.node:  # waits for room
                    self.ray.cancel(reference, force=True)
                    continue
                left = max(0.0, end - time.monotonic())
                _, _, parcel = self.ray.get(reference, timeout=left)
                flight.hold.check()
                unpack(parcel, flight.cell.folder(self.out))
        self._flying.clear()

    def _clear(self) -> None:
        """Delete what nodes have of this comparison; of one that is gone, nobody can."""
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        with suppress(RayError):
            cleared = []
            for node in self._used & self._nodes().keys():
                there = NodeAffinitySchedulingStrategy(node, soft=False)
                task = self.ray.remote(clear).options(num_cpus=0, scheduling_strategy=there)
                cleared.append(task.remote(self.name))
            if cleared:
                self.ray.wait(cleared, num_returns=len(cleared), timeout=SAVED)
