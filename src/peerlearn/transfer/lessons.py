"""Who learns from whom: the entries of a transfer graph as lessons, one for each learner."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.transfer.schedules import Schedule
from peerlearn.transfer.spec import SELF, EdgeSpec, TransferSpec


@dataclass(frozen=True)
class Lesson:
    """What one learner takes from all teachers of one entry of the graph.

    Attributes:
        field: the entry as its configuration names it, for messages.
    """

    entry: int
    teachers: tuple[str, ...]
    learner: str
    spec: EdgeSpec
    field: str

    @property
    def peers(self) -> tuple[str, ...]:
        """Who takes part, the learner first."""
        return (self.learner, *self.teachers)


class Exchange(NamedTuple):
    """What is known of one batch when peers exchange what they know.

    Attributes:
        outputs: of every peer for the same rows.
        targets: labels; None where there are none.
        labelled: boolean mask over rows; None where all are labelled.
        progress: finished fraction of the stage; None where nobody counts.
    """

    outputs: Mapping[str, PeerOutput]
    targets: Tensor | None = None
    labelled: Tensor | None = None
    progress: float | None = None

    def at(self, schedule: Schedule, value: float, field: str) -> float:
        """A scheduled quantity now.

        Raises:
            InputError: it moves, and the progress is not known.
        """
        if schedule.kind == "constant":
            return value
        if self.progress is None:
            raise InputError(
                f"transfer.{field}_schedule follows the training: pass progress=, the finished "
                "fraction from 0 to 1"
            )
        return schedule.at(self.progress, value)

    def order(self, spec: EdgeSpec) -> float | None:
        """The order of the Rényi divergence now; None where the edge has another divergence."""
        return None if spec.alpha is None else self.at(spec.alpha_schedule, spec.alpha, "alpha")

    def row_mask(self, rows: str) -> Tensor | None:
        """The rows that `all`, `labelled` or `unlabelled` means; None for all of them.

        Raises:
            InputError: unlabelled rows are asked for, and nothing marks them.
        """
        if rows == "all":
            return None
        if self.labelled is None:
            if rows == "labelled":
                return None
            raise InputError("transfer.rows: 'unlabelled' needs targets that mark unlabelled rows")
        return self.labelled if rows == "labelled" else ~self.labelled


def lessons_of(spec: TransferSpec, peers: Sequence[str]) -> Iterator[Lesson]:
    """Every lesson of a graph, in the order of its entries.

    Raises:
        InputError: an unknown peer in `from` or `to`, or an entry without two peers to connect.
    """
    for number, entry in enumerate(spec.entries()):
        field = "transfer" if spec.edges == "all" else f"transfer.edges.{number}"
        learners = _peer_names(entry.learners, peers, f"{field}.to")
        if entry.teachers == SELF:
            pairs = [(learner, [learner]) for learner in learners]
        else:
            teachers = _peer_names(entry.teachers, peers, f"{field}.from")
            pairs = [(learner, [t for t in teachers if t != learner]) for learner in learners]
        if not any(others for _, others in pairs):
            raise InputError(
                f"{field}: nobody to learn from: an edge needs two different peers, found "
                f"{', '.join(map(repr, peers))}. Add a peer, train alone with transfer: none, or "
                "let a peer learn from itself with from: self."
            )
        for learner, others in pairs:
            if others:
                yield Lesson(number, tuple(others), learner, entry, field)


def _peer_names(given: str | list[str], peers: Sequence[str], field: str) -> list[str]:
    names = list(peers) if given == "all" else [given] if isinstance(given, str) else given
    for name in names:
        if name not in peers:
            raise unknown_name("peer", name, peers, field)
        if names.count(name) > 1:
            raise InputError(f"{field}: {name!r} is named twice; to count it more use weight")
    return names
