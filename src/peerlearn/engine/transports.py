"""How a peer's outputs reach the peers that learn from it, in one process or in many.

Every transport answers the same few questions, so that the step is written once: which peers live
here, which of a step's batches, what do the others say, and how do their results come together.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import torch.distributed as dist
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import Batch
from peerlearn.errors import RunError
from peerlearn.launched import launched_together
from peerlearn.transfer.outputs import PeerOutput

T = TypeVar("T")
Outputs = Mapping[str, PeerOutput]


class Meeting(NamedTuple):
    """Rows on which edges compare peers in place of those that a learner learns from."""

    batch: Batch
    outputs: dict[str, PeerOutput]  # what peers elsewhere have said of them


class Transport(Protocol):
    """What the engine asks of the way between peers.

    Attributes:
        owned: peers that live here.
        leads: whether this process speaks and writes for all.
        alone: whether all peers and all batches are in this process.
        part, parts: which share of the batches of a step this process takes, of how many.
    """

    owned: list[str]
    leads: bool
    alone: bool
    part: int
    parts: int

    @property
    def meeting(self) -> Callable[[int], Meeting] | None:
        """Where peers meet in a micro-batch of a stage, by its number; None: on its own rows."""

    def exchange(
        self, own: Outputs, names: Sequence[str], asked: "Asked", present: Sequence[str]
    ) -> dict[str, PeerOutput]:
        """`own`, and beside them the outputs `names` of peers elsewhere, without a gradient.

        Args:
            own: outputs of the peers that live here, and of their averages.
            names: outputs that travel, wherever they are.
            asked: of an output, the names of the features that travel with it; None: none of any.
            present: peers that have run, wherever they live.
        """

    def lend(self, tensors: Mapping[str, Sequence[Tensor]]) -> None:
        """Give tensors of peers, by name, the values that they have where the peer lives."""

    def begin(self, cohort: Cohort) -> None:
        """Before the first step of a stage."""

    def stepped(self, cohort: Cohort, step: int, last: bool = False) -> None:
        """After a step of the optimisers, the number `step`; `last` after the whole training."""

    def told(self) -> dict[str, Any]:
        """What the record of an epoch says of it."""

    def collect(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """One entry per peer, from the entries that each process holds for the peers it owns."""

    def summed(self, own: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """Numbers of the peers that live here, summed over all parts of the batches."""

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Give parameters of a peer that lives here the sum of what every part has added up.

        Asked where there are several `parts`.
        """

    def of_parts(self, own: T) -> list[T]:
        """What the processes say that hold the same peers, in the order of their parts."""

    def anywhere(self, holds: bool) -> bool:
        """Whether something holds in any process; they go on alike, whatever their clocks say."""

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes."""

    def total(self, number: int) -> int:
        """The sum of the numbers of all processes."""


#: Of a peer and its output: names of the features that learners elsewhere read.
Asked = Callable[[str, PeerOutput], Collection[str]] | None


class Lockstep:
    """What a transport has nothing to do for whose peers meet at every step, on its rows."""

    meeting: Callable[[int], Meeting] | None = None

    def begin(self, cohort: Cohort) -> None:
        """Nothing is older than the step."""

    def stepped(self, cohort: Cohort, step: int, last: bool = False) -> None:
        """Nor does anything else have to be told."""

    def told(self) -> dict[str, Any]:
        return {}


class LocalTransport(Lockstep):
    """All peers in this process."""

    leads = alone = True
    part, parts = 0, 1

    def __init__(self, peers: Sequence[str]) -> None:
        self.owned = list(peers)

    def exchange(
        self, own: Outputs, names: Sequence[str], asked: Asked, present: Sequence[str]
    ) -> dict[str, PeerOutput]:
        return dict(own)

    def lend(self, tensors: Mapping[str, Sequence[Tensor]]) -> None:
        """They are here."""

    def collect(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return dict(own)

    def summed(self, own: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        return {name: list(numbers) for name, numbers in own.items()}

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """They are whole."""

    def of_parts(self, own: T) -> list[T]:
        return [own]

    def anywhere(self, holds: bool) -> bool:
        return holds

    def largest(self, number: int) -> int:
        return number

    def total(self, number: int) -> int:
        return number


def agreed(say: Callable[[], T]) -> T:
    """What the first of the processes started together says, in all of them; they wait for it.

    Raises RunError: one of them has ended.
    """
    if launched_together() == 1:
        return say()
    if not dist.is_initialized():
        dist.init_process_group()
    said: list[Any] = [say() if leads_launch() else None]
    with all_there():
        dist.broadcast_object_list(said, src=0)
    return said[0]


@contextmanager
def all_there() -> Iterator[None]:
    """A block in which processes wait for each other. Raises RunError: one of them has ended."""
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises where a connection breaks
        first = str(error).partition("\n")[0].partition(". ")[0].rpartition("] ")[2]
        raise RunError(
            f"another of the {dist.get_world_size()} processes of this launch has ended ({first}); "
            "start them again with --resume once it is known why"
        ) from error


def leads_launch() -> bool:
    """Whether this process is the only one, or the first of those started together."""
    return int(os.environ.get("RANK", "0")) == 0
