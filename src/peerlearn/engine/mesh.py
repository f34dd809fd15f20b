"""Peers and batches spread over processes that wait for each other, as `torchrun` starts them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from peerlearn.engine.transports import (
    Asked,
    LocalTransport,
    Lockstep,
    Outputs,
    Transport,
    all_there,
)
from peerlearn.errors import InputError
from peerlearn.launched import launched_together
from peerlearn.transfer.outputs import PeerOutput

T = TypeVar("T")


class MeshTransport(Lockstep):
    """Peers spread over the dimension `peer` of a device mesh, batches over its dimension `data`.

    Peer number i lives in the processes with coordinate `i % size` of `peer`. Those that hold the
    same peers, along `data`, each take a part of the micro-batches that a step accumulates, and add
    up their gradients; there is no other average than that of one process over these batches.
    Outputs travel detached, among processes with the same micro-batches, so a learner's gradient
    stays where the learner is, as it does in one process.
    """

    alone = False

    def __init__(self, peers: Sequence[str], mesh: dist.device_mesh.DeviceMesh) -> None:
        self.group, self.device = mesh.get_group("peer"), mesh.device_type
        self.replicas = mesh.get_group("data")
        self.parts, self.part = dist.get_world_size(self.replicas), dist.get_rank(self.replicas)
        world, rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        self.peers = list(peers)
        self.owner = {name: i % world for i, name in enumerate(peers)}
        self.owned = [name for name in peers if self.owner[name] == rank]
        self.leads = dist.get_rank() == 0

    def exchange(
        self, own: Outputs, names: Sequence[str], asked: Asked, present: Sequence[str]
    ) -> dict[str, PeerOutput]:
        outputs = dict(own)
        # Where everybody has run a peer, everybody knows what logits look like.
        if asked is None and {self.owner[name] for name in present} == set(self.owner.values()):
            like = next(iter(own.values())).logits
            logits = {
                name: own[name].logits.detach().contiguous()
                if name in own
                else torch.empty_like(like, memory_format=torch.contiguous_format)
                for name in names
            }
            self._broadcast((name, each) for name, each in logits.items())
            return outputs | {n: PeerOutput(z) for n, z in logits.items() if n not in own}
        parcels = {name: _parcel(own[name], name, asked) for name in names if name in own}
        labels: dict[str, list[_Label]] = {}
        for part in self._gathered({n: _labels(each) for n, each in parcels.items()}, self.group):
            labels |= part
        tensors = {
            name: list(parcels[name].values())
            if name in parcels
            else [torch.empty(it.shape, dtype=it.dtype, device=self.device) for it in labels[name]]
            for name in names
        }
        # As bytes, for backends do not know every type of number.
        self._broadcast(
            (name, each.reshape(-1).view(torch.uint8))
            for name, all_ in tensors.items()
            for each in all_
        )
        for name in names:
            if name not in own:
                keys = [label.name for label in labels[name]]
                found = dict(zip(keys, tensors[name], strict=True))
                outputs[name] = PeerOutput(found.pop(_LOGITS), found)
        return outputs

    def lend(self, tensors: Mapping[str, Sequence[Tensor]]) -> None:
        flat = {
            name: torch.cat([each.detach().reshape(-1) for each in them])
            for name, them in tensors.items()
            if them
        }
        self._broadcast((name, each) for name, each in flat.items())
        for name, values in flat.items():
            if name not in self.owned:
                sizes = [each.numel() for each in tensors[name]]
                for each, value in zip(tensors[name], values.split(sizes), strict=True):
                    each.detach().copy_(value.view_as(each))

    def _broadcast(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Send every tensor from where its peer, or the peer that it averages, lives."""
        with all_there():
            waiting = [
                dist.broadcast(
                    each,
                    group_src=self.owner[name.partition(":")[0]],
                    group=self.group,
                    async_op=True,
                )
                for name, each in tensors
                if each.numel()
            ]
            for work in waiting:
                work.wait()

    def collect(self, own: Mapping[str, Any]) -> dict[str, Any]:
        # Whatever else a process holds may be old: a resumed one has read what was of all of them.
        own = {name: entry for name, entry in own.items() if name in self.owned}
        parts = self._gathered(own, self.group)
        merged = {name: entry for part in parts for name, entry in part.items()}
        return {name: merged[name] for name in self.peers if name in merged}

    def summed(self, own: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        parts = self.of_parts({name: list(numbers) for name, numbers in own.items()})
        return {name: [sum(z) for z in zip(*(p[name] for p in parts), strict=True)] for name in own}

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        # One that no loss has reached has no gradient, and must have none afterwards either. Parts
        # can differ in that: one may have had no batch.
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
        zero = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        by_type: dict[torch.dtype, list[Tensor]] = {torch.float32: [has.to(self.device)]}
        for each in zero:
            by_type.setdefault(each.dtype, []).append(each.reshape(-1))
        summed = {kind: torch.cat(all_) for kind, all_ in by_type.items()}
        with all_there():
            for flat in summed.values():
                dist.all_reduce(flat, group=self.replicas)
        rest = {kind: iter(flat.split([len(each) for each in by_type[kind]]))
                for kind, flat in summed.items()}  # fmt: skip
        reached = next(rest[torch.float32]).tolist()
        for parameter, anyone in zip(parameters, reached, strict=True):
            gradient = next(rest[parameter.dtype]).view_as(parameter)
            parameter.grad = gradient if anyone else None

    def of_parts(self, own: T) -> list[T]:
        return [own] if self.parts == 1 else self._gathered(own, self.replicas)

    def _gathered(self, own: T, group: dist.ProcessGroup) -> list[T]:
        parts: list[Any] = [None] * dist.get_world_size(group)
        with all_there():
            dist.all_gather_object(parts, own, group=group)
        return parts

    def anywhere(self, holds: bool) -> bool:
        return bool(self.largest(int(holds)))

    def largest(self, number: int) -> int:
        return self._reduced(number, dist.ReduceOp.MAX)

    def total(self, number: int) -> int:
        return self._reduced(number, dist.ReduceOp.SUM)

    def _reduced(self, number: int, how: Any) -> int:
        reduced = torch.tensor(number, device=self.device)
        with all_there():
            dist.all_reduce(reduced, how)
        return int(reduced)


_LOGITS = ":logits"  # which no feature is called


class _Label(NamedTuple):
    """What a process must know of a tensor before it can receive it."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def _parcel(output: PeerOutput, name: str, asked: Asked) -> dict[str, Tensor]:
    """What travels of an output: its logits, and the features that somebody asks for."""
    wanted = asked(name, output) if asked is not None else ()
    features = {key: each for key, each in output.features.items() if key in wanted}
    tensors = {_LOGITS: output.logits, **features}
    return {key: each.detach().contiguous() for key, each in tensors.items()}


def _labels(parcel: Mapping[str, Tensor]) -> list[_Label]:
    return [_Label(name, tuple(each.shape), each.dtype) for name, each in parcel.items()]


def launched_transport(peers: Sequence[str], device: torch.device) -> Transport:
    """Many processes where `torchrun` (or the caller) started many, else one.

    Raises InputError: peers cannot be spread over so many.
    """
    world = launched_together()
    if world == 1 and not dist.is_initialized():
        return LocalTransport(peers)
    mesh = dist.init_device_mesh(
        device.type, mesh_shape(world, peers), mesh_dim_names=("peer", "data")
    )
    return MeshTransport(peers, mesh)


def mesh_shape(world: int, peers: Sequence[str]) -> tuple[int, int]:
    """Over how many processes peers, and the batches of each, are spread.

    Raises InputError: more processes than peers, and not so many times as many.
    """
    if world <= len(peers):
        return world, 1
    if world % len(peers):
        raise InputError(
            f"{world} processes for {len(peers)} peers ({', '.join(peers)}): start at most one "
            f"process per peer, or a multiple of {len(peers)}, which share the batches of a step"
        )
    return len(peers), world // len(peers)
