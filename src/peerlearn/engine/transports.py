"""How a peer's outputs reach the peers that learn from it, in one process or in many.

Every transport answers the same few questions, so that the step is written once: which peers live
here, what do the others say, and how do their results come together.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from peerlearn.errors import InputError, RunError
from peerlearn.transfer.outputs import PeerOutput

T = TypeVar("T")


class Transport(Protocol):
    """What the engine asks of the way between peers."""

    owned: list[str]
    leads: bool

    def share(self, name: str, output: PeerOutput | None, like: Tensor) -> PeerOutput:
        """The output of peer `name`, computed by its owner; `like` has its shape and type."""

    def collect(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """One entry per peer, from the entries that each process holds for the peers it owns."""

    def anywhere(self, holds: bool) -> bool:
        """Whether something holds in any process; they go on alike, whatever their clocks say."""

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes."""


class LocalTransport:
    """All peers in this process."""

    def __init__(self, peers: Sequence[str]) -> None:
        self.owned = list(peers)
        self.leads = True

    def share(self, name: str, output: PeerOutput | None, like: Tensor) -> PeerOutput:
        assert output is not None, f"peer {name} is owned here, so it has an output"
        return output

    def collect(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return dict(own)

    def anywhere(self, holds: bool) -> bool:
        return holds

    def largest(self, number: int) -> int:
        return number


class MeshTransport:
    """Peers spread over the `peer` dimension of a device mesh, one or more per process.

    Every process sees the same batches; peer number i lives on rank `i % world`. Logits travel
    detached, so a learner's gradient stays in its process, as it does in one process.

    Raises InputError: more processes than peers.
    """

    def __init__(self, peers: Sequence[str], mesh: dist.device_mesh.DeviceMesh) -> None:
        self.group, self.device = mesh.get_group("peer"), mesh.device_type
        world, self.rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        if world > len(peers):
            what = f"{world} processes for {len(peers)} peers ({', '.join(peers)})"
            raise InputError(f"{what}: start at most one process per peer")
        self.peers = list(peers)
        self.owner = {name: i % world for i, name in enumerate(peers)}
        self.owned = [name for name in peers if self.owner[name] == self.rank]
        self.leads = self.rank == 0

    def share(self, name: str, output: PeerOutput | None, like: Tensor) -> PeerOutput:
        """Broadcast the owner's logits; elsewhere they arrive without a gradient."""
        logits = output.logits.detach() if output is not None else torch.empty_like(like)
        logits = logits.contiguous()
        with _all_there():
            dist.broadcast(logits, group_src=self.owner[name], group=self.group)
        return output if output is not None else PeerOutput(logits)

    def collect(self, own: Mapping[str, Any]) -> dict[str, Any]:
        parts: list[Any] = [None] * dist.get_world_size(self.group)
        # Whatever else a process holds may be old: a resumed one has read what was of all of them.
        own = {name: entry for name, entry in own.items() if name in self.owned}
        with _all_there():
            dist.all_gather_object(parts, own, group=self.group)
        merged = {name: entry for part in parts for name, entry in part.items()}
        return {name: merged[name] for name in self.peers if name in merged}

    def anywhere(self, holds: bool) -> bool:
        return bool(self.largest(int(holds)))

    def largest(self, number: int) -> int:
        largest = torch.tensor(number, device=self.device)
        with _all_there():
            dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return int(largest)


def launched_transport(peers: Sequence[str], device: torch.device) -> Transport:
    """Many processes where `torchrun` (or the caller) started many, else one."""
    world = launched_together()
    if world == 1 and not dist.is_initialized():
        return LocalTransport(peers)
    mesh = dist.init_device_mesh(device.type, (world,), mesh_dim_names=("peer",))
    return MeshTransport(peers, mesh)


def launched_together() -> int:
    """How many processes were started together, as by `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def agreed(say: Callable[[], T]) -> T:
    """What the first of the processes started together says, in all of them; they wait for it.

    Raises RunError: one of them has ended.
    """
    if launched_together() == 1:
        return say()
    if not dist.is_initialized():
        dist.init_process_group()
    said: list[Any] = [say() if leads_launch() else None]
    with _all_there():
        dist.broadcast_object_list(said, src=0)
    return said[0]


@contextmanager
def _all_there() -> Iterator[None]:
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
