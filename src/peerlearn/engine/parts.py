"""A step whose micro-batches several processes share that hold the same peers.

Each takes some of those that one process would accumulate, under the same random streams. What
they add up to is the step of one process, up to the rounding of sums in another order.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from peerlearn.engine.transports import Transport
from peerlearn.errors import InputError

#: Running mean, running variance, and how many batches they have seen.
Running = tuple[Tensor, Tensor, int]


def own_part(batches: int, transport: Transport) -> range:
    """Numbers of the micro-batches of a step that this process takes; there may be none."""
    first, last = ((transport.part + end) * batches // transport.parts for end in (0, 1))
    return range(first, last)


class Statistics(NamedTuple):
    """A normalisation layer that follows the statistics of its batches, and those before a step."""

    layer: _NormBase
    before: Running | None = None

    def kept(self) -> "Statistics":
        """With the statistics that the layer has now."""
        return Statistics(self.layer, self._now())

    def seen(self) -> Running:
        """What the layer has now, on the CPU."""
        mean, var, count = self._now()
        return mean.cpu(), var.cpu(), count

    def join(self, parts: Sequence[Running]) -> None:
        """Have the statistics of all parts, as if one process had seen their batches in turn.

        A batch takes r to (1 − m) r + m s, m the momentum and s what the batch has. So n of them
        take r to f(r) with slope (1 − m)ⁿ, and of a part only f(before) is known.
        """
        assert self.before is not None and self.layer.momentum is not None
        mean, var, first = self.before
        slope, counts = 1 - self.layer.momentum, [count - first for *_, count in parts]
        for before, now, seen in (
            (mean, self.layer.running_mean, [part[0] for part in parts]),
            (var, self.layer.running_var, [part[1] for part in parts]),
        ):
            assert now is not None
            joined = before
            for after, count in zip(seen, counts, strict=True):
                if count:
                    joined = after.to(before.device) + slope**count * (joined - before)
            now.copy_(joined)
        assert self.layer.num_batches_tracked is not None
        self.layer.num_batches_tracked.fill_(first + sum(counts))

    def _now(self) -> Running:
        layer = self.layer
        assert layer.running_mean is not None and layer.running_var is not None
        assert layer.num_batches_tracked is not None
        mean, var = layer.running_mean.clone(), layer.running_var.clone()
        return mean, var, int(layer.num_batches_tracked)


def running_statistics(networks: Iterable[nn.Module]) -> list[Statistics]:
    """The layers that have such.

    Raises InputError: one that takes the mean of all batches so far, which has no such slope.
    """
    layers = [
        layer
        for network in networks
        for layer in network.modules()
        if isinstance(layer, _NormBase) and layer.running_mean is not None
    ]
    if any(layer.momentum is None for layer in layers):
        raise InputError(
            "a normalisation layer with momentum=None cannot be spread over several processes that "
            "share the batches of a step; give it a momentum, or start one process per peer"
        )
    return [Statistics(layer) for layer in layers]


def join_parts(kept: Sequence[Statistics], transport: Transport) -> None:
    """After a step: every process has what the batches of all parts have left in `kept` layers."""
    if kept:
        parts = transport.of_parts([each.seen() for each in kept])
        for statistics, *seen in zip(kept, *parts, strict=True):
            statistics.join(seen)
