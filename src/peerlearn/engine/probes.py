"""What is found out about trained peers beside their metrics: cost, flatness, noise, corruption."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from statistics import fmean, median, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.corruption import LEVELS, CorruptionKind, corruption
from peerlearn.engine.evaluate import Forward, Logits, Rows
from peerlearn.engine.precision import Precision
from peerlearn.engine.task import Evaluator
from peerlearn.metrics.flatness import flatness
from peerlearn.models.bayesian import BayesianNetwork
from peerlearn.models.size import multiply_adds_of, parameter_count
from peerlearn.modes import evaluating
from peerlearn.randomness import keyed_generator, preserved_rng

DRAWS = 5
ON_CORRUPTED = ("accuracy", "nll", "ece")
"""Metrics of images made worse."""
WARM_UP = 3
REPETITIONS = 9
PATIENCE = 2.0  # seconds of repetitions for a network that is very slow


def flatness_curves(
    cohort: Cohort,
    rows: Rows,
    precision: Precision,
    seed: int,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Loss under growing weight noise, by peer, on fixed rows; see `metrics.flatness`.

    `names` are those of the peers that are looked at; None: all of them.
    """

    def placed() -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in rows():
            yield precision.place(x), y.to(precision.device)

    curves = {}
    for name in cohort.names if names is None else names:
        peer = cohort.peers[name]
        model = peer if cohort.trunk is None else nn.Sequential(cohort.trunk, peer)
        curves[name] = flatness(model, placed, partial(cohort.objective, name), seed=seed)
    return {
        "sigma": next(iter(curves.values()))["sigma"],
        "peers": {name: {"mean": c["mean"], "std": c["std"]} for name, c in curves.items()},
    }


def noise_curves(
    task: Evaluator, forward: Forward, sigmas: Sequence[float], seed: int
) -> dict[str, Any]:
    """Accuracy of every peer and of the ensemble under Gaussian noise on their input.

    The task measures as for the report, with `DRAWS` draws at every level.

    Args:
        sigmas: standard deviations, in units of the standard deviation of each batch's values.
        seed: keys the draws.

    Returns `sigma`, and `peers`: by peer and for `ensemble` the `mean` and `std` over draws.
    """
    measured: dict[str, list[list[float]]] = {}
    for level, sigma in enumerate(sigmas):
        for draw in range(DRAWS if sigma else 1):
            block = task.evaluate_reported(_noisy(forward, sigma, seed, draw))
            everyone = block["peers"] | {"ensemble": block["ensemble"]}
            for name, metrics in everyone.items():
                levels = measured.setdefault(name, [[] for _ in sigmas])
                levels[level].append(metrics["accuracy"])
    return {
        "sigma": list(sigmas),
        "peers": {
            name: {"mean": [*map(fmean, levels)], "std": [*map(pstdev, levels)]}
            for name, levels in measured.items()
        },
    }


def _noisy(forward: Forward, sigma: float, seed: int, draw: int) -> Forward:
    """`forward` of rows to which noise is added."""
    generator = keyed_generator(seed, "noise", draw)  # for all sets of rows, one after the other
    return _changed(forward, partial(with_noise, sigma=sigma, generator=generator))


def corruption_curves(
    task: Evaluator, forward: Forward, kinds: Sequence[CorruptionKind], seed: int
) -> dict[str, Any]:
    """How peers, their mean and their ensemble do on images made worse; see `data.corruption`.

    The task measures as for the report, and kinds that are named twice count once.

    Args:
        kinds: of corruption.
        seed: keys the noise.

    Returns:
        `levels`, and `kinds`: by kind, who and the metrics `ON_CORRUPTED` a value for each level.
    """
    normalisation = task.normalisation()
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for kind in dict.fromkeys(kinds):
        for level in LEVELS:
            worse = corruption(kind, level, normalisation, seed)
            block = task.evaluate_reported(_changed(forward, worse))
            together = {who: block[who] for who in ("mean_peer", "ensemble")}
            for who, metrics in (block["peers"] | together).items():
                curves = found.setdefault(kind, {}).setdefault(who, {})
                for name in ON_CORRUPTED:
                    curves.setdefault(name, []).append(metrics[name])
    return {"levels": list(LEVELS), "kinds": found}


def corrupted_means(curves: Mapping[str, Any], who: str) -> dict[str, float]:
    """`corrupted_accuracy` and the like: means over all kinds and levels."""
    kinds = curves["kinds"].values()
    return {
        f"corrupted_{name}": fmean(value for kind in kinds for value in kind[who][name])
        for name in ON_CORRUPTED
    }


def _changed(forward: Forward, change: Callable[[Any], Any]) -> Forward:
    """`forward` of rows that are changed."""

    def over(rows: Rows) -> Iterator[tuple[Logits, Any]]:
        return forward(lambda: ((change(x), y) for x, y in rows()))

    return over


def takes_no_noise(x: Any) -> str:
    """What a batch is, in words, where Gaussian noise on it would mean nothing; empty if it does.

    Noise is for numbers, or a graph whose features are such, in its field `x`.
    """
    if isinstance(x, Tensor):
        return "" if x.is_floating_point() else f"whole numbers ({x.dtype}), ids of something"
    if isinstance(x, Mapping):
        return f"several inputs by name ({', '.join(map(str, x))})"
    if x is None or (dataclasses.is_dataclass(x) and hasattr(x, "x")):
        return ""
    return type(x).__name__


def with_noise(x: Any, sigma: float, generator: torch.Generator) -> Any:
    """`x` with Gaussian noise; of a graph its features, its field `x`, which become dense.

    `sigma` is in units of the standard deviation of the values; the generator lives on the CPU.
    """
    if sigma == 0:
        return x
    if not isinstance(x, Tensor):
        return dataclasses.replace(x, x=with_noise(x.x, sigma, generator))
    dense = x.to_dense() if x.layout != torch.strided else x
    noise = torch.randn(dense.shape, generator=generator).to(dense.device)
    return dense + sigma * dense.std() * noise


def peer_sizes(cohort: Cohort, x: Any, precision: Precision) -> dict[str, dict[str, float]]:
    """Sizes of every peer, the trunk it stands on included.

    Modes, normalisation statistics and random generators are left as found.

    Args:
        cohort: trained peers, on the device of `precision`.
        x: a batch of what they read; its first row is measured. Where it is no tensor, such as a
            graph, only parameters are counted.
        precision: of the run, so that the time is that of this device and format.

    Returns:
        By peer `parameters`, `draws` of one that is Bayesian, `multiply_adds` of one row, and
        `latency_ms`, the median time of one forward of one row in milliseconds, on as many threads
        as torch now has. A network that one row is too few for, or whose operations cannot be
        counted, has what could be measured.
    """
    with evaluating(cohort):  # all of it, for a peer may read what another one computes
        return {name: _sizes(cohort, peer, x, precision) for name, peer in cohort.peers.items()}


def _sizes(cohort: Cohort, peer: nn.Module, x: Any, precision: Precision) -> dict[str, float]:
    model = peer if cohort.trunk is None else nn.Sequential(cohort.trunk, peer)
    sizes = {"parameters": float(parameter_count(model))}
    if isinstance(peer, BayesianNetwork):
        sizes["draws"] = float(peer.test_samples)
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
