"""Peers in processes that do not wait for each other: each publishes what it is in a folder.

A process trains one peer. What it publishes are its weights: the others stand in it as they last
published themselves, and teach as frozen peers do. Or, where weights must not leave their machine,
what it says of public rows: then the others are here what they have said, and teach on those rows.
Nothing in the folder runs code, and nothing that is not whole and of the right shapes is taken; a
peer that is lost goes on teaching as it was last.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.fingerprint import bytes_of
from peerlearn.engine.evaluate import predict
from peerlearn.engine.files import load_state, save_state
from peerlearn.engine.precision import Precision
from peerlearn.engine.public_rows import PublicRows
from peerlearn.engine.run_folder import TEMPORARY, TEMPORARY_WEIGHTS
from peerlearn.engine.settings import PeerSettings, TrainingSpec, TransportSpec
from peerlearn.engine.transports import LocalTransport, Meeting
from peerlearn.errors import InputError, unknown_name
from peerlearn.locks import held
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.knowledge.base import Knowledge
from peerlearn.transfer.outputs import PeerOutput

VERSION = 1
"""Of the files; one of another version is not taken."""
FILE = "snapshot.safetensors"

Published = Literal["weights", "predictions"]


class Snapshot(NamedTuple):
    """What a peer has published at some time."""

    step: int  # of its optimiser, as its process counts
    tensors: Mapping[str, Tensor]


def publish(
    folder: Path,
    peer: str,
    step: int,
    tensors: Mapping[str, Tensor],
    what: Published = "weights",
    rows: str | None = None,
) -> None:
    """Write what a peer has learned so far, whole or not at all.

    Args:
        folder: that all processes see.
        peer: who publishes.
        step: of its optimiser.
        tensors: weights or predictions, as `what` says.
        rows: digest of the rows that predictions are about.

    Raises RunError: the file cannot be written; the one before stays.
    """
    here = {name: each.detach().cpu() for name, each in tensors.items()}
    state = {"snapshot": VERSION, "peer": peer, "step": step, "digest": digest(here)}
    about = {} if rows is None else {"rows": rows}
    save_state(folder / peer / FILE, state | about | {what: here})


def read_snapshot(
    path: Path,
    peer: str,
    like: Mapping[str, Tensor],
    what: Published = "weights",
    rows: str | None = None,
) -> Snapshot:
    """What a peer has published.

    Args:
        path: the file.
        peer: who should have written it.
        like: tensors of the names, shapes and types that they must have.
        what, rows: as for `publish`.

    Raises InputError: no such file, or damaged, of another version or peer, of a network or about
    rows that are not these; says what was found.
    """
    state = load_state(path)
    found = state if isinstance(state, dict) else {}
    if found.get("snapshot") != VERSION:
        raise InputError(f"{path}: no snapshot of version {VERSION}")
    if found.get("peer") != peer:
        raise InputError(f"{path}: of peer {found.get('peer')!r}; expected {peer!r}")
    step, tensors = found.get("step"), found.get(what)
    if not (
        isinstance(step, int)
        and not isinstance(step, bool)
        and step >= 0
        and isinstance(tensors, dict)
        and _tensors(tensors)
    ):
        raise InputError(
            f"{path}: a snapshot without a step or without {what}; give every process the same "
            "transport.publish"
        )
    if digest(tensors) != found.get("digest"):
        raise InputError(f"{path}: damaged (its {what} are not those that were written)")
    if found.get("rows") != rows:
        raise InputError(
            f"{path}: about other public rows ({found.get('rows')}, here {rows}); give every "
            "process the same transport.public, of equal rows in the same order"
        )
    for name in [*like, *tensors]:
        one, other = (_form(each.get(name)) for each in (tensors, like))
        if one != other:
            raise InputError(
                f"{path}: does not fit peer {peer!r}: {name} is {one}; expected {other}. Give "
                "every process the same peers and data with as many classes"
            )
    if broken := [name for name, each in tensors.items() if not each.isfinite().all()]:
        raise InputError(f"{path}: {broken[0]} holds NaN or infinity, so the peer is broken")
    return Snapshot(step, tensors)


def _tensors(found: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(each, Tensor) for k, each in found.items())


def _form(tensor: Tensor | None) -> str:
    if tensor is None:
        return "not there"
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of tensors by name, bit for bit."""
    made = hashlib.blake2b(digest_size=16)
    for name, each in sorted(tensors.items()):
        made.update(name.encode())
        made.update(bytes_of(each.cpu()))
    return made.hexdigest()


class SnapshotTransport(LocalTransport, ABC):
    """One peer trains in this process; the others are here what they last published.

    Attributes:
        what: is published.
        rows: digest of the rows that it is about; None of weights.
        steps: by peer, at which of its own steps it was last seen; None for one not seen yet.
    """

    what: ClassVar[Published]
    rows: str | None = None

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

    @abstractmethod
    def made(self, cohort: Cohort) -> Mapping[str, Tensor]:
        """What the peer of this process publishes now."""

    @abstractmethod
    def like(self, cohort: Cohort, peer: str) -> Mapping[str, Tensor]:
        """Tensors of the names, shapes and types of what a peer elsewhere publishes."""

    @abstractmethod
    def take(self, cohort: Cohort, peer: str, tensors: Mapping[str, Tensor]) -> None:
        """From now on a peer elsewhere is here what it has published."""

    def stepped(self, cohort: Cohort, step: int, last: bool = False) -> None:
        if last or step % self.every == 0:
            publish(self.folder, self.peer, step, self.made(cohort), self.what, self.rows)
            self.begin(cohort)
        unseen = [name for name, seen in self.steps.items() if seen is None]
        if last and unseen and self.what == "weights":
            self.tell(
                f"never seen: {', '.join(unseen)}; results of these peers, and of the ensemble "
                "with them, are those of networks that nobody has trained"
            )

    def told(self) -> dict[str, Any]:
        return {"snapshots": dict(self.steps)}

    def begin(self, cohort: Cohort) -> None:
        """Take the newest of the others; edges of those never seen teach nothing."""
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
                found = read_snapshot(path, name, self.like(cohort, name), self.what, self.rows)
            except InputError as error:
                self.tell(f"left aside: {error}")
                continue
            self.take(cohort, name, found.tensors)
            self.steps[name] = found.step
        cohort.transfer.absent = frozenset(n for n, step in self.steps.items() if step is None)


class WeightSnapshots(SnapshotTransport):
    """All peers are in this process, those that do not train with the weights they published."""

    what = "weights"

    def made(self, cohort: Cohort) -> Mapping[str, Tensor]:
        weights: Mapping[str, Tensor] = cohort.peers[self.peer].state_dict()
        return weights

    def like(self, cohort: Cohort, peer: str) -> Mapping[str, Tensor]:
        weights: Mapping[str, Tensor] = cohort.peers[peer].state_dict()
        return weights

    def take(self, cohort: Cohort, peer: str, tensors: Mapping[str, Tensor]) -> None:
        cohort.peers[peer].load_state_dict(tensors)


class PredictionSnapshots(SnapshotTransport):
    """One peer is in this process, and what others say of public rows, on which they meet it."""

    what = "predictions"
    alone = False

    def __init__(
        self,
        peers: Sequence[str],
        spec: TransportSpec,
        tell: Callable[[str], object],
        public: PublicRows,
        training: TrainingSpec,
        precision: Precision,
        seed: int,
    ) -> None:
        super().__init__(peers, spec, tell)
        self.owned = spec.here(peers)
        self.rows, self.precision = public.digest, precision
        self._logits = torch.empty(len(public), public.classes, device="meta")
        self._public = public.in_order(training.evaluation.batch_size)
        self._batches = public.loader(spec.public_batch or training.batch_size, seed)
        self._said: dict[str, Tensor] = {}  # by peer elsewhere, (public rows, classes)

    def made(self, cohort: Cohort) -> Mapping[str, Tensor]:
        own = {self.peer: cohort.peers[self.peer]}
        said = predict(own, self._public, self.precision)
        return {"logits": torch.cat([logits[self.peer] for logits, _ in said])}

    def like(self, cohort: Cohort, peer: str) -> Mapping[str, Tensor]:
        return {"logits": self._logits}

    def take(self, cohort: Cohort, peer: str, tensors: Mapping[str, Tensor]) -> None:
        self._said[peer] = tensors["logits"]

    def meeting(self, number: int) -> Meeting:
        """The next public rows, in an order that the seed and the number decide."""
        epoch, step = divmod(number, len(self._batches))
        batch = next(self._batches.epoch(epoch, step))
        said = {name: logits[batch.index] for name, logits in self._said.items()}
        return Meeting(batch, {n: PeerOutput(self.precision.place(z)) for n, z in said.items()})


@contextmanager
def held_alone(transport: SnapshotTransport) -> Iterator[None]:
    """A block in which this process and no other is the peer of its transport.

    Raises InputError: another process trains the peer; RunError: the folder cannot be written.
    """
    own = transport.folder / transport.peer
    with held(own):
        for path in own.glob(".*"):  # what a killed process was writing
            if TEMPORARY.fullmatch(path.name) or TEMPORARY_WEIGHTS.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield


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


def check_snapshots(
    cohort: Cohort, graphs: Sequence[TransferGraph], training: TrainingSpec
) -> None:
    """See that a cohort can train so.

    Raises InputError: peers share a trunk, edges cannot wait for a peer that is not there yet, or
    something is asked of peers elsewhere that they do not publish.
    """
    spec = training.transport
    if cohort.trunk is not None:
        raise InputError("transport: peers on a shared trunk have no weights of their own")
    for entry in (entry for graph in graphs for entry in graph.entries):
        if spec.publishes_predictions:
            _check_public(entry)
        if not entry.provable:
            raise InputError(
                f"{entry.field}: knowledge {entry.options.knowledge!r} cannot wait for a peer that "
                "has not published yet; with transport: snapshot use predictions, features or "
                "relations"
            )
    members = training.evaluation.members
    if spec.publishes_predictions and members not in (None, [spec.peer]):
        raise InputError(
            f"evaluation.members: found {members}, but with transport.publish 'predictions' no "
            f"peer is here but {spec.peer!r}; leave it out"
        )


def _check_public(entry: Knowledge) -> None:
    """See that an edge asks nothing but what peers say of public rows."""
    options: Any = entry.options
    if options.knowledge != "predictions":
        raise InputError(
            f"{entry.field}: knowledge {options.knowledge!r} is not what transport.publish "
            "'predictions' publishes; allowed: predictions"
        )
    beyond = {
        "rows": options.rows == "labelled",
        "classes": options.classes != "all",
        "gate": options.gate == "correct",
        "weighting": options.weighting.by != "none",
        "teacher_ema": options.teacher_ema is not None,
        "proven": options.proven.ends != "none",
        "detach": not options.detach,
    }
    for name in (name for name, asked in beyond.items() if asked):
        raise InputError(
            f"{entry.field}.{name}: needs labels, or the networks of others, and transport.publish "
            "'predictions' gives neither: only logits, on rows without labels; leave it out"
        )
