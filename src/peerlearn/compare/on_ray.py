"""Cells of a comparison on the nodes of a Ray cluster.

Every cell is a task with a request for CPUs and GPUs. Nodes and driver need not share a folder:
what a cell trains on travels to a node once, what it has written comes back as a parcel of files,
which the driver puts into the comparison's folder. The driver holds the cells that it has handed
out, as a process does that trains them itself, so other processes may work on the same folder.

Ray trusts whoever reaches a cluster: a node runs what a driver sends, and may answer with anything.
"""

import json
import sys
import tempfile
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
from peerlearn.compare.ray_cluster import Cluster, connected, in_words, room_for
from peerlearn.compare.ray_node import Board, Orders, clear, train
from peerlearn.compare.shared_data import SharedData
from peerlearn.engine.description import Facts
from peerlearn.errors import InputError, RunError
from peerlearn.locks import Hold, InUseError, Watch, held
from peerlearn.provenance import version_of
from peerlearn.systems.recipe import Recipe

LOOK = 0.3
"""Seconds between looks at what nodes have to tell."""
LOOK_AGAIN = 1.0
"""Seconds between looks at cells that other programs train."""
GRACE = 120.0
"""Seconds for which there may be no node that has room for a cell."""
SAVED = 60.0
"""Seconds in which cells are to be saved that are asked to stop."""
TRIES = {"process": 3, "node": 10}
"""How often a cell may be begun, by what dies meanwhile; nodes that are lent come and go."""


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

    def told(self, arm: str, facts: Facts) -> Facts:
        """What is known of an arm, which says where it is trained."""
        place = [f"{in_words(self._asked[arm])} of a node, for each cell"]
        return {word: place if word == "device" else said for word, said in facts.items()}

    def train(self, cells: Sequence[Cell]) -> None:
        """Train the cells that are free until all are finished.

        Raises InputError, RunError: of the first cell that fails; the others are saved and left.
        """
        self.board = self._board()
        self._common = self.ray.put(self.recipe)  # with rows of which it consists, once
        self._task = self.ray.remote(train)
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
        nodes, requests = self._nodes().values(), self._asked.values()
        return max(2 * sum(room_for(node, asked) for node in nodes) for asked in requests)

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
            task = self._task.options(
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
        board = self.ray.remote(Board).options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
            max_restarts=-1,  # elsewhere, where its node dies, without what was on it
        )
        return board.remote()

    def _heard(self) -> list[str]:
        """What was told since; nothing while the board is being made again."""
        from ray.exceptions import RayError

        try:
            return list(self.ray.get(self.board.heard.remote()))
        except RayError:
            return []

    # From a node -------------------------------------------------------------------------------

    def _waited(self) -> list[Any]:
        """Cells that are over, after a moment; what all of them tell is passed on."""
        if self._flying:
            over, _ = self.ray.wait(list(self._flying), num_returns=1, timeout=LOOK)
        else:
            over = []
            time.sleep(LOOK)
        for line in self._heard():
            event = json.loads(line)
            if event["event"] == "node":
                self._where(event)
            if event["event"] != "cell done":  # which is told when it has come back
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
                raise RunError(f"{named}: on node {flight.host}: {_reason(error)}") from error
            except RayError as error:
                gone = isinstance(error, NodeDiedError) or self._is_gone(flight.node)
                self._died(flight, error, "node" if gone else "process")
                return flight.cell
            flight.hold.check()
            if parcel:
                unpack(parcel, flight.cell.folder(self.out))
        if end in ("input", "run"):
            raise (InputError if end == "input" else RunError)(said)
        if end == "done":
            where = {"arm": flight.cell.arm, "seed": flight.cell.seed}
            self.observe({"event": "cell done"} | where)
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


def _reason(error: Any) -> str:
    """Why a task of Ray has failed, in a line."""
    if "No module named 'peerlearn'" in str(error):
        return f"peerlearn is not installed there; install {version_of('peerlearn')} on every node"
    lines = str(error.cause or error).strip().splitlines() or [""]
    return f"{type(error.cause or error).__name__}: {lines[-1]}"
