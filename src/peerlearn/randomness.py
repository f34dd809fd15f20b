"""Randomness that is a function of what it is for, never of what ran before.

Every random draw is keyed by names (`seed, "weights", "peer a"`), so that arms that differ in one
option still share initial weights, batches and dropout masks, a resumed run needs no generator
state, and one process draws what N processes draw.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_State = tuple[Tensor, Tensor | None]  # of the CPU's generator and of the current accelerator's


def derive_seed(seed: int, *key: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every part of `key`, equal on every platform."""
    text = "\x1f".join([str(seed), *map(str, key)]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def keyed_generator(seed: int, *key: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream named by `seed` and `key`."""
    return torch.Generator().manual_seed(derive_seed(seed, *key))


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave torch's global generators, of the CPU and of the accelerator, as they were found."""
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    devices = list(range(torch.accelerator.device_count())) if accelerator else []
    with torch.random.fork_rng(devices, device_type=accelerator.type if accelerator else "cuda"):
        yield


@contextmanager
def seeded_rng(seed: int, *key: str | int) -> Iterator[None]:
    """Run a block under generators seeded by `seed` and `key`, then put the old ones back."""
    with preserved_rng():
        _start(derive_seed(seed, *key))
        yield


class RandomStreams:
    """Gives every name a random stream of its own, however often its turns are interrupted.

    ```python
    streams = RandomStreams(lambda name: derive_seed(seed, step, name))
    with streams("a"): ...      # torch's generators start at a's seed
    with streams("b"): ...
    with streams("a"): ...      # and go on where a left them
    ```

    What is drawn inside is what one block after `torch.manual_seed` would draw; outside, torch's
    generators are as if nothing had been drawn. Covers the CPU's and the current accelerator's.

    Args:
        seed: the seed of a name, asked for at its first turn.
    """

    def __init__(self, seed: Callable[[str], int]) -> None:
        self._seed = seed
        self._states: dict[str, _State] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        outside = _state()
        if name in self._states:
            _restore(self._states[name])
        else:
            _start(self._seed(name))
        try:
            yield
        finally:
            self._states[name] = _state()
            _restore(outside)


def _start(seed: int) -> None:
    # torch.manual_seed also visits backends that are not there, at 0.1 ms or more a call.
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _state() -> _State:
    if not torch.accelerator.is_available():
        return torch.get_rng_state(), None
    return torch.get_rng_state(), torch.get_device_module().get_rng_state()


def _restore(state: _State) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module().set_rng_state(state[1])
