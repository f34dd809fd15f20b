"""Which way between peers a training takes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from peerlearn.engine.mesh import launched_transport
from peerlearn.engine.settings import TransportSpec
from peerlearn.engine.snapshots import snapshots
from peerlearn.engine.transports import Transport, launched_together
from peerlearn.errors import InputError


@contextmanager
def transport_of(
    spec: TransportSpec,
    peers: Sequence[str],
    device: torch.device,
    tell: Callable[[str], object],
) -> Iterator[Transport]:
    """The transport that was asked for, while a training uses it.

    Args:
        peers: names of all peers of the cohort.
        device: where those that live here are.
        tell: is told in words what was left aside.

    Raises InputError: peers cannot be spread over the processes that there are.
    """
    if spec.kind == "mesh":
        yield launched_transport(peers, device)
        return
    if launched_together() > 1:
        raise InputError(
            f"transport: 'snapshot' in {launched_together()} processes that were started together; "
            "leave torchrun out and start each by itself, with transport.peer of its own"
        )
    with snapshots(peers, spec, tell) as transport:
        yield transport
