"""Randomness that is a function of what it is for, never of what ran before.

Every random draw is keyed by names (`seed, "weights", "peer a"`), so that arms that differ in one
option still share initial weights, batches and dropout masks, a resumed run needs no generator
state, and one process draws what N processes draw.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def derive_seed(seed: int, *key: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every part of `key`, equal on every platform."""
    text = "\x1f".join([str(seed), *map(str, key)]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def keyed_generator(seed: int, *key: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream named by `seed` and `key`."""
    return torch.Generator().manual_seed(derive_seed(seed, *key))


def preserved_rng() -> AbstractContextManager[None]:
    """Leave torch's global generators, of the CPU and of the accelerator, as they were found."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    kind, count = ("cpu", 0) if device is None else (device.type, torch.accelerator.device_count())
    return torch.random.fork_rng(range(count), device_type=kind)


@contextmanager
def seeded_rng(seed: int, *key: str | int) -> Iterator[None]:
    """Run a block under generators seeded by `seed` and `key`, then put the old ones back."""
    with preserved_rng():
        start_rng(seed, *key)
        yield


def start_rng(seed: int, *key: str | int) -> None:
    """Set torch's global generators to the start of the stream named by `seed` and `key`."""
    start = derive_seed(seed, *key)
    # torch.manual_seed also visits backends that are not there, at 0.1 ms or more a call.
    if torch.accelerator.is_available():
        torch.manual_seed(start)
    else:
        torch.default_generator.manual_seed(start)
