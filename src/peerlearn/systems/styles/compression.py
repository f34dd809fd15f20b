"""Students as wide as a share of their teacher's parameters allows."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn

from peerlearn.errors import InputError
from peerlearn.models.size import parameter_count
from peerlearn.randomness import preserved_rng
from peerlearn.systems.styles.config import StylesConfig

Config = TypeVar("Config", bound=StylesConfig)
#: Builds a model from (name, arguments, the configuration field that holds the name).
Build = Callable[[str, dict[str, Any], str], nn.Module]
LARGEST = 4096
"""Steps of width that are tried at most: channels, or thousandths where width is a factor."""


def with_fitting_widths(config: Config, build: Build) -> Config:
    """`config` with the widths that compression gives, and without the peers that take no part.

    Raises InputError: a student whose model has no `width`, or none that is small enough.
    """
    peers = dict(config.peers)
    if config.compression is not None:
        students = [name for name in peers if name != config.teacher]
        teacher, field = peers[config.teacher], f"peers.{config.teacher}.model"
        size = _size(build, teacher.model, teacher.arguments, field)
        target = (1 - config.compression.ratio) * size
        if config.compression.of == "together":
            target /= len(students)
        widths: dict[str, float] = {}  # students of one model are measured once
        for name in students:
            peer = peers[name]
            if "width" not in peer.arguments:
                kind = f"{peer.model} {peer.arguments}"
                if kind not in widths:
                    widths[kind] = _fitting_width(config, name, target, build)
                arguments = peer.arguments | {"width": widths[kind]}
                peers[name] = peer.model_copy(update={"arguments": arguments})
    present = {name: peer for name, peer in peers.items() if name not in config.without}
    return config.model_copy(update={"peers": present})


def _fitting_width(config: StylesConfig, name: str, target: float, build: Build) -> float:
    """The width that comes nearest to `target` parameters, by bisection."""
    peer, field = config.peers[name], f"peers.{name}.model"

    @cache
    def size(width: float) -> int:
        return _size(build, peer.model, peer.arguments | {"width": width}, field)

    step = _step(size, f"compression: {field}: {peer.model!r}")
    if size(step) > target:
        raise InputError(
            f"compression: {peer.model!r} of peer {name!r} has {size(step):,} parameters at width "
            f"{step:g}; {target:,.0f} are its share"
        )
    low, high = 1, 2
    while high < LARGEST and size(high * step) <= target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle * step) <= target else (low, middle)
    return min((low * step, high * step), key=lambda width: abs(size(width) - target))


def _step(size: Callable[[float], int], what: str) -> float:
    """What a width is counted in: a thousandth where it is a factor, else one channel."""
    for step in (0.001, 1):
        with suppress(InputError):
            size(step)
            return step
    raise InputError(
        f"{what} has no width to set; name another model, or give the student's size by its own "
        "arguments and leave compression out"
    )


def _size(build: Build, model: str, arguments: dict[str, Any], field: str) -> int:
    with preserved_rng(), torch.device("meta"):
        return parameter_count(build(model, arguments, field))
