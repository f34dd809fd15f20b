"""How accuracy falls as noise is added to what the peers read."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from peerlearn.cohort import Cohort
from peerlearn.engine.evaluate import Rows, assessed, predict
from peerlearn.engine.precision import Precision
from peerlearn.metrics.assessment import Assessment
from peerlearn.randomness import keyed_generator

DRAWS = 5


def noise_curves(
    cohort: Cohort,
    rows: Rows,
    precision: Precision,
    assess: Callable[[], Assessment],
    sigmas: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """Accuracy of every peer and of the ensemble under Gaussian noise on their input.

    Args:
        cohort: trained peers.
        rows: to measure on.
        assess: begins an assessment, as for the report.
        sigmas: standard deviations, in units of the standard deviation of each batch's values.
        seed: keys the draws, of which there are `DRAWS` at every level.

    Returns:
        `sigma`, and `peers`: by peer and for `ensemble` the `mean` and `std` over draws.
    """
    measured: dict[str, list[list[float]]] = {}
    for level, sigma in enumerate(sigmas):
        for draw in range(DRAWS if sigma else 1):

            def noisy(sigma: float = sigma, draw: int = draw) -> Iterator[tuple[Any, Tensor]]:
                generator = keyed_generator(seed, "noise", draw)
                for x, y in rows():
                    yield with_noise(x, sigma, generator), y

            peers = dict(cohort.peers.items())
            block = assessed(predict(peers, noisy, precision, cohort.trunk), assess())
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


def with_noise(x: Any, sigma: float, generator: torch.Generator) -> Any:
    """`x` with Gaussian noise; of a graph its features, which become dense.

    Args:
        x: a tensor, or a dataclass whose field `x` is one.
        sigma: in units of the standard deviation of the values; 0 changes nothing.
        generator: CPU generator.
    """
    if sigma == 0:
        return x
    if not isinstance(x, Tensor):
        return dataclasses.replace(x, x=with_noise(x.x, sigma, generator))
    dense = x.to_dense() if x.layout != torch.strided else x
    noise = torch.randn(dense.shape, generator=generator).to(dense.device)
    return dense + sigma * dense.std() * noise
