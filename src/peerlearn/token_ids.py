"""Ids that an embedding has no vector for: found before a training, or told where torch fails."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.data.account import some
from peerlearn.errors import InputError

SHOWN = 8
"""Ids of a row that are shown."""


class Lookup(NamedTuple):
    """What an embedding was asked for.

    Attributes:
        layer: its name in the network.
        size: how many vectors it has.
        ids: that it was given.
    """

    layer: str
    size: int
    ids: Tensor

    @property
    def wrong(self) -> Tensor:
        """Which ids it has no vector for."""
        return (self.ids < 0) | (self.ids >= self.size)


def lookups(network: nn.Module, call: Callable[[], Any]) -> list[Lookup]:
    """What the embeddings of a network are asked for while it is called, which may fail."""
    found: list[Lookup] = []

    def noting(layer: str, size: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(_: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor) and not given[0].is_floating_point():
                found.append(Lookup(layer, size, given[0].detach().cpu()))

        return note

    handles = [
        module.register_forward_pre_hook(noting(name, module.num_embeddings))
        for name, module in network.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    ]
    try:
        with torch.no_grad(), suppress(Exception):  # the network may be anybody's code
            call() if handles else None
    finally:
        for handle in handles:
            handle.remove()
    return found


def unknown_id(name: str, network: Any, call: Callable[[], Any]) -> InputError | None:
    """Why a network failed on a batch, where it looked up an id that it does not have."""
    asked = lookups(network, call) if isinstance(network, nn.Module) else []
    if not asked or not bool((wrong := asked[-1].wrong).any()):
        return None
    where = wrong.nonzero()[0].tolist()
    return _error(f"row {where[0]} of the batch", asked[-1], name, int(asked[-1].ids[tuple(where)]))


def check_ids(
    peers: Mapping[str, nn.Module],
    few: Any,
    call: Callable[[nn.Module], Any],
    rows: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Refuse rows with an id that a peer's embedding does not have.

    An embedding reads an input where it is given just that of the first rows.

    Args:
        peers: networks by name.
        few: the first rows, as networks are given them.
        call: gives them to a network.
        rows: all rows of every part, by the name of the input; "" of the only one.

    Raises InputError: names the part, the row, the id and the layer.
    """
    inputs: Mapping[str, Any] = few if isinstance(few, Mapping) else {"": few}
    whole = {key: x for key, x in inputs.items() if isinstance(x, Tensor) and _whole(x)}
    if not whole or not rows:
        return
    for name, network in peers.items():
        for lookup in lookups(network, lambda net=network: call(net)):  # type: ignore[misc]
            for key in (key for key, x in whole.items() if torch.equal(x.cpu(), lookup.ids)):
                for where, value in _wrong(rows, key, lookup):
                    raise _error(where, lookup, name, value)


def _wrong(
    rows: Mapping[str, Mapping[str, Tensor]], key: str, lookup: Lookup
) -> Iterator[tuple[str, int]]:
    for part, inputs in rows.items():
        if key in inputs and len(inputs[key]):
            asked = lookup._replace(ids=inputs[key])
            if bool((wrong := asked.wrong).any()):
                place = wrong.nonzero()[0].tolist()
                of = f"{key} of {part}" if key else part
                # Its number counts what is left of a part, so what is in it is told too.
                row = some([str(each) for each in asked.ids[place[0]].flatten().tolist()], SHOWN)
                yield f"data: {of}: row {place[0]} ({row})", int(asked.ids[tuple(place)])


def _error(where: str, asked: Lookup, name: str, value: int) -> InputError:
    layer = f"{asked.layer!r}" if asked.layer else "itself"
    return InputError(
        f"{where} holds id {value}, but the embedding {layer} of peer {name!r} has {asked.size:,} "
        f"vectors; allowed: 0 to {asked.size - 1}"
    )


def _whole(x: Tensor) -> bool:
    return not x.is_floating_point() and not x.is_complex() and x.dtype != torch.bool
