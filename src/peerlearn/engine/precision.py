"""Number format, memory and threads of training on one device."""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError

# Names of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc allows on 64 bits
LARGEST_TRIM_THRESHOLD = 2**31 - 1

PrecisionName = Literal["auto", "fp32", "bf16"]
Placed = TypeVar("Placed")


def resolve_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the accelerator where there is one, else the CPU.

    Raises InputError: no device of that name on this machine.
    """
    if name == "auto":
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator() or torch.device("cpu")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=device)
    except Exception as error:  # each backend fails in its own way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"device: {name!r} is not available here ({reason}); try 'auto' or 'cpu'"
        ) from None
    return device


def most_threads() -> int:
    """So many threads a process may ask for; far more than cores end in a crash of the system."""
    return max(64, 4 * (os.cpu_count() or 1))


def bf16_is_native(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself rather than by emulation."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


@dataclass(frozen=True)
class Precision:
    """Where and in which format forwards run."""

    device: torch.device  # of weights and batches
    bf16: bool  # run forwards under bfloat16 autocast; losses and weights stay fp32
    channels_last: bool  # keep images as (batch, height, width, channels) in memory

    @classmethod
    def resolve(cls, name: PrecisionName, device: torch.device) -> "Precision":
        """`auto` is bf16 in channels_last where bf16 is native, else fp32.

        On a CPU `auto` keeps channels_last in fp32 too, where it is faster as well.
        """
        bf16 = name == "bf16" or (name == "auto" and bf16_is_native(device))
        return cls(device, bf16, channels_last=name == "auto" and (bf16 or device.type == "cpu"))

    def autocast(self) -> AbstractContextManager[None]:
        """The context of every forward."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @property
    def moves(self) -> bool:
        """Whether `place` does anything with tensors in memory."""
        return self.channels_last or self.device.type != "cpu"

    def place(self, what: Placed) -> Placed:
        """Move what a peer is or reads to the device, images into the layout of this precision.

        Args:
            what: a module, a tensor, anything with a `to` such as a graph, or a mapping of such;
                other things are returned as they are.
        """
        if isinstance(what, Mapping):
            return {name: self.place(value) for name, value in what.items()}  # type: ignore[return-value]
        layout: dict[str, torch.memory_format] = {}
        image = isinstance(what, Tensor) and what.ndim == 4
        if self.channels_last and (isinstance(what, nn.Module) or image):
            layout = {"memory_format": torch.channels_last}
        to = getattr(what, "to", None)
        return what if to is None else to(self.device, non_blocking=True, **layout)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run a block on `count` CPU threads, then put the number back; None leaves it alone.

    A run from a larger machine gets as many as `most_threads`.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(min(count, most_threads()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> bool:
    """Have this process keep freed memory for the next step.

    A step frees the activations of all peers at its end. glibc gives such a block back to the
    system, which then clears and maps every page anew in the next step; on a CPU this can cost
    a sixth of the step. The process keeps its peak for as long as it lives.

    Returns whether the C library took it; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        and mallopt(M_TRIM_THRESHOLD, LARGEST_TRIM_THRESHOLD)
    )
