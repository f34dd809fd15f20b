"""How a network is called with what a batch holds: one tensor, or several by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from torch import Tensor

from peerlearn.errors import InputError


def called(network: Callable[..., Any], x: Any, name: str) -> Any:
    """What a network makes of `x`.

    A mapping holds the arguments of `forward` by name, such as `input_ids` and `attention_mask`.
    Where `forward` takes one argument, which has none of these names, that is the mapping as it is.

    What is no tensor may know itself how networks take it, by its method `given_to`.

    Raises InputError: `x` holds what `forward` does not take; names the peer.
    """
    given_to = getattr(x, "given_to", None)
    if not isinstance(x, Mapping) and given_to is None:
        return network(x)
    forward = getattr(type(network), "forward", None)
    taken = None if forward is None else _arguments(forward)
    if given_to is not None:
        return given_to(network, taken or ())
    if taken is None:
        return network(**x)
    if len(taken) == 1 and not set(x) & set(taken):
        return network(x)
    if unknown := [key for key in x if key not in taken]:
        raise InputError(
            f"peers.{name}: forward({', '.join(taken)}) does not take "
            f"{', '.join(map(repr, unknown))} of the batch, which holds {', '.join(map(repr, x))}"
        )
    return network(**x)


@cache
def _arguments(forward: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names of what a method takes; None where it takes any."""
    parameters = list(inspect.signature(forward).parameters.values())[1:]  # without self
    if any(it.kind is it.VAR_KEYWORD for it in parameters):
        return None
    return tuple(it.name for it in parameters if it.kind is not it.VAR_POSITIONAL)


def rows_of(x: Any) -> int | None:
    """How many rows a batch has, where that can be seen."""
    while isinstance(x, Mapping):
        x = next(iter(x.values()), None)
    return len(x) if isinstance(x, Tensor) and x.ndim else None
