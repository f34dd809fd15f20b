"""How accuracy falls as noise is added to what the peers read."""

import dataclasses
from collections.abc import Iterator, Sequence
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from peerlearn.engine.evaluate import Forward, Logits, Rows
from peerlearn.engine.task import Evaluator
from peerlearn.randomness import keyed_generator

DRAWS = 5


def noise_curves(
    task: Evaluator, forward: Forward, sigmas: Sequence[float], seed: int
) -> dict[str, Any]:
    """Accuracy of every peer and of the ensemble under Gaussian noise on their input.

    Args:
        task: measures, as for the report.
        forward: runs the trained peers over rows.
        sigmas: standard deviations, in units of the standard deviation of each batch's values.
        seed: keys the draws, of which there are `DRAWS` at every level.

    Returns:
        `sigma`, and `peers`: by peer and for `ensemble` the `mean` and `std` over draws.
    """
    measured: dict[str, list[list[float]]] = {}
    for level, sigma in enumerate(sigmas):
        for draw in range(DRAWS if sigma else 1):
            block = task.evaluate(_noisy(forward, sigma, seed, draw), "report")
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

    def over(rows: Rows) -> Iterator[tuple[Logits, Any]]:
        return forward(lambda: ((with_noise(x, sigma, generator), y) for x, y in rows()))

    return over


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
