"""Random streams of peers whose computations take turns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

State = tuple[Tensor, Tensor | None]


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
        self._states: dict[str, State] = {}

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
    torch.default_generator.manual_seed(seed)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)


def _state() -> State:
    if not torch.accelerator.is_available():
        return torch.get_rng_state(), None
    return torch.get_rng_state(), torch.get_device_module().get_rng_state()


def _restore(state: State) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module().set_rng_state(state[1])
