"""What every peer costs to use: parameters, multiply-adds and time of one row."""

import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.engine.modes import evaluating
from peerlearn.engine.precision import Precision
from peerlearn.models.size import multiply_adds_of, parameter_count
from peerlearn.randomness import preserved_rng

WARM_UP = 3
REPETITIONS = 9
PATIENCE = 2.0  # seconds of repetitions for a network that is very slow


def peer_sizes(cohort: Cohort, x: Any, precision: Precision) -> dict[str, dict[str, float]]:
    """Sizes of every peer, the trunk it stands on included.

    Modes, normalisation statistics and random generators are left as found.

    Args:
        cohort: trained peers, on the device of `precision`.
        x: a batch of what they read; its first row is measured. Where it is no tensor, such as a
            graph, only parameters are counted.
        precision: of the run, so that the time is that of this device and format.

    Returns:
        By peer `parameters`, `multiply_adds` of one row, and `latency_ms`, the median time of one
        forward of one row in milliseconds, on as many threads as torch now has. A network that
        one row is too few for, or whose operations cannot be counted, has what could be measured.
    """
    with evaluating(cohort):  # all of it, for a peer may read what another one computes
        return {name: _sizes(cohort, peer, x, precision) for name, peer in cohort.peers.items()}


def _sizes(cohort: Cohort, peer: nn.Module, x: Any, precision: Precision) -> dict[str, float]:
    model = peer if cohort.trunk is None else nn.Sequential(cohort.trunk, peer)
    sizes = {"parameters": float(parameter_count(model))}
    if isinstance(x, Tensor) and len(x):
        row = precision.place(x[:1])
        # Networks are the user's own, and this is no reason to lose a training.
        with suppress(Exception):
            sizes["multiply_adds"] = float(multiply_adds_of(model, row))
        with suppress(Exception):
            sizes["latency_ms"] = _latency(model, row, precision)
    return sizes


def _latency(model: nn.Module, row: Tensor, precision: Precision) -> float:
    with preserved_rng(), torch.no_grad(), precision.autocast():
        for _ in range(WARM_UP):
            model(row)
        times: list[float] = []
        while len(times) < REPETITIONS and sum(times) < PATIENCE:
            times.append(_seconds(lambda: model(row), precision.device))
    return 1000 * median(times)


def _seconds(forward: Callable[[], object], device: torch.device) -> float:
    _finish(device)
    began = time.perf_counter()
    forward()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    """Wait for what an accelerator still has to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
