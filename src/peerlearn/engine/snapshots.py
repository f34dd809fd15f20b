"""Peers in processes that do not wait for each other: each publishes its weights in a folder.

A process trains one peer. The others stand in it as they last published themselves, and teach as
frozen peers do. Nothing in the folder runs code, and nothing that is not whole and of the right
shapes is taken; a peer that is lost goes on teaching as it was last.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.files import load_state, save_state
from peerlearn.engine.run_folder import TEMPORARY, TEMPORARY_WEIGHTS
from peerlearn.engine.settings import PeerSettings, TransportSpec
from peerlearn.engine.transports import LocalTransport
from peerlearn.errors import InputError, unknown_name
from peerlearn.locks import held
from peerlearn.transfer.graph import TransferGraph

VERSION = 1
"""Of the files; one of another version is not taken."""
FILE = "snapshot.safetensors"


class Snapshot(NamedTuple):
    """The weights of a peer at some time."""

    step: int  # of its optimiser, as its process counts
    weights: Mapping[str, Tensor]


def publish(folder: Path, peer: str, step: int, network: nn.Module) -> None:
    """Write what a peer has learned so far, whole or not at all.

    Raises RunError: the file cannot be written; the one before stays.
    """
    weights = {name: each.detach().cpu() for name, each in network.state_dict().items()}
    state = {"snapshot": VERSION, "peer": peer, "step": step, "digest": digest(weights)}
    save_state(folder / peer / FILE, state | {"weights": weights})


def read_snapshot(path: Path, peer: str, like: Mapping[str, Tensor]) -> Snapshot:
    """What a peer has published.

    Args:
        path: the file.
        peer: who should have written it.
        like: weights of the names, shapes and types that they must have.

    Raises InputError: no such file, or damaged, of another version or peer, or of a network that
    is not this one; says what was found.
    """
    state = load_state(path)
    found = state if isinstance(state, dict) else {}
    if found.get("snapshot") != VERSION:
        raise InputError(f"{path}: no snapshot of version {VERSION}")
    if found.get("peer") != peer:
        raise InputError(f"{path}: of peer {found.get('peer')!r}; expected {peer!r}")
    step, weights = found.get("step"), found.get("weights")
    if not (isinstance(step, int) and isinstance(weights, dict) and _tensors(weights)):
        raise InputError(f"{path}: a snapshot without a step or without weights")
    if digest(weights) != found.get("digest"):
        raise InputError(f"{path}: damaged (its weights are not those that were written)")
    for name in [*like, *weights]:
        one, other = (_form(each.get(name)) for each in (weights, like))
        if one != other:
            raise InputError(
                f"{path}: does not fit peer {peer!r}: {name} is {one}; expected {other}. Give "
                "every process the same peers and data with as many classes"
            )
    return Snapshot(step, weights)


def _tensors(weights: Mapping[str, Any]) -> bool:
    return all(isinstance(each, Tensor) for each in weights.values())


def _form(tensor: Tensor | None) -> str:
    if tensor is None:
        return "not there"
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def digest(weights: Mapping[str, Tensor]) -> str:
    """A hash of weights, bit for bit."""
    made = hashlib.blake2b(digest_size=16)
    for name, each in sorted(weights.items()):
        made.update(name.encode())
        made.update(
            each.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return made.hexdigest()


class SnapshotTransport(LocalTransport):
    """All peers in this process, one of which trains; the others are as they last published.

    Attributes:
        steps: by peer, at which of its own steps it was last seen; None for one not seen yet.
    """

    def __init__(
        self, peers: Sequence[str], spec: TransportSpec, tell: Callable[[str], object]
    ) -> None:
        super().__init__(peers)
        assert spec.folder is not None and spec.peer is not None, "seen to by its options"
        self.folder = Path(spec.folder).expanduser()
        self.peer, self.every = spec.peer, spec.every
        self.tell = tell
        self.steps: dict[str, int | None] = {name: None for name in peers if name != self.peer}
        self._seen: dict[str, tuple[int, int]] = {}  # which file of each peer was looked at

    def stepped(self, cohort: Cohort, step: int, last: bool = False) -> None:
        if last or step % self.every == 0:
            publish(self.folder, self.peer, step, cohort.peers[self.peer])
            self.begin(cohort)

    def told(self) -> dict[str, Any]:
        return {"snapshots": dict(self.steps)}

    def begin(self, cohort: Cohort) -> None:
        """Take the newest weights of the others; edges of those never seen teach nothing."""
        for name in self.steps:
            path = self.folder / name / FILE
            try:
                about = path.stat()
            except OSError:
                continue  # not there yet, or on its way out: what was seen last stays
            seen = about.st_ino, about.st_mtime_ns
            if self._seen.get(name) == seen:
                continue
            self._seen[name] = seen
            try:
                found = read_snapshot(path, name, cohort.peers[name].state_dict())
            except InputError as error:
                self.tell(f"left aside: {error}")
                continue
            cohort.peers[name].load_state_dict(found.weights)
            self.steps[name] = found.step
        cohort.transfer.absent = frozenset(n for n, step in self.steps.items() if step is None)


@contextmanager
def snapshots(
    peers: Sequence[str], spec: TransportSpec, tell: Callable[[str], object]
) -> Iterator[SnapshotTransport]:
    """The transport, while this process and no other is its peer.

    Raises InputError: another process trains the peer; RunError: the folder cannot be written.
    """
    transport = SnapshotTransport(peers, spec, tell)
    own = transport.folder / transport.peer
    with held(own):
        for path in own.glob(".*"):  # what a killed process was writing
            if TEMPORARY.fullmatch(path.name) or TEMPORARY_WEIGHTS.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield transport


def one_learns(
    peers: Mapping[str, PeerSettings], names: Sequence[str], spec: TransportSpec
) -> dict[str, PeerSettings]:
    """Settings of peers of which this process trains one.

    Raises InputError: there is no such peer, or it is frozen.
    """
    if spec.peer is None or spec.peer not in names:
        raise unknown_name("peer", str(spec.peer), names, "transport.peer")
    if (settings := peers.get(spec.peer)) is not None and settings.frozen:
        raise InputError(f"transport.peer: {spec.peer!r} is frozen, so it has nothing to publish")
    frozen = {"frozen": True}
    return dict(peers) | {
        name: peers.get(name, PeerSettings()).model_copy(update=frozen)
        for name in names
        if name != spec.peer
    }


def check_snapshots(cohort: Cohort, graphs: Sequence[TransferGraph]) -> None:
    """See that a cohort can train so.

    Raises InputError: peers share a trunk, or edges cannot wait for a peer that is not there yet.
    """
    if cohort.trunk is not None:
        raise InputError("transport: peers on a shared trunk have no weights of their own")
    for entry in (entry for graph in graphs for entry in graph.entries):
        if not entry.provable:
            raise InputError(
                f"{entry.field}: knowledge {entry.options.knowledge!r} cannot wait for a peer that "
                "has not published yet; with transport: snapshot use predictions, features or "
                "relations"
            )
