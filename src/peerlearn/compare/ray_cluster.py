"""A Ray cluster: what is asked of it for every cell, and how it is reached."""

import math
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from peerlearn.engine.interruption import SIGNALS
from peerlearn.errors import InputError, unknown_name

REACHED = 10.0
"""Seconds in which something must answer at the address of a cluster."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The first words of HTTP/2, which gRPC speaks: a preface and a frame of settings (RFC 9113, 3.4).
A server answers with such a frame, whose fourth byte is its type."""
_ADDRESS = re.compile(r"[^\s:/@]+:[0-9]{1,5}")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what is asked of it for every cell.

    Attributes:
        address: `HOST:PORT` of a cluster that this machine is part of; empty for the one that was
            started here last, or that of the variable `RAY_ADDRESS`.
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
                f"--cluster {cluster}: {address!r} is no address; expected ray or ray:HOST:PORT"
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
        if not any(room_for(node, asked) for node in nodes):
            found = "; ".join(sorted({in_words(node) for node in nodes})) or "none"
            raise InputError(
                f"--cluster: a cell asks for {in_words(asked)}, and no node has so many; nodes "
                f"have: {found}. To lower: --cpus (or threads) and --gpus (or device)"
            )
        return asked


def room_for(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    """For how many cells at once."""
    return min(int(node.get(name, 0) / number) for name, number in asked.items() if number)


def in_words(resources: Mapping[str, float]) -> str:
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
    host, _, port = address.rpartition(":")
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
