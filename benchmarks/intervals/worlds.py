"""Made-up comparisons of which the truth is known.

Shapes: N comparisons, A arms beside the reference, K peers, S seeds, R test rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peerlearn.report.intervals import Crossed

Array = NDArray[np.float64]

SHARES = (
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 1.0),
    (0.5, 0.5, 0.0),
    (0.5, 0.0, 0.5),
    (0.0, 0.5, 0.5),
    (0.1, 0.3, 0.6),
    (0.3, 0.1, 0.6),
    (0.05, 0.05, 0.9),
    (0.33, 0.33, 0.34),
)
"""Of the variance of a mean difference: what is of the seed, of the row, and of both together."""


class World(NamedTuple):
    """How much rows differ in what makes an arm right on them, as standard deviations of logits."""

    name: str
    hard: float = 2.0  # a row, for everyone
    seed: float = 0.05  # a training, over all rows
    arm_row: float = 0.3  # a row, for one arm, whatever the seed
    seed_row: float = 0.3  # a row, with one seed, whatever the arm
    peer_row: float = 0.6  # a row, for one peer of one training
    ease: float = 2.0  # of the rows on average


WORLDS = (
    World("some of each", seed=0.1, arm_row=0.2),
    World("seeds count", seed=0.25, arm_row=0.05),
    World("rows count", seed=0.0, arm_row=0.5),
    World("both", seed=0.25, arm_row=0.5),
    World("near the ceiling", ease=6.0),
)


def normal_tables(
    shares: tuple[float, float, float], seeds: int, rows: int, count: int, seed: int
) -> tuple[Crossed, float]:
    """Means and variances of `count` tables of an exact normal model, and the true mean.

    D = μ + a_s + b_j + e_sj. Means and sums of squares of such tables are drawn as they are
    distributed, independently of each other, instead of the tables.
    """
    draw = np.random.default_rng(seed)
    of_seed, of_row, of_both = (np.full(count, share) for share in shares)

    def mean_square(expected: Array, freedom: int) -> Array:
        return expected * draw.chisquare(freedom, count) / freedom

    mean = np.sqrt(of_seed + of_row + of_both) * draw.normal(size=count)
    seed_square = mean_square(of_seed + of_both, seeds - 1)
    row_square = mean_square(of_row + of_both, rows - 1)
    both_square = mean_square(of_both, (seeds - 1) * (rows - 1))
    return Crossed(mean, seed_square, row_square, both_square, seeds, rows), 0.0


def logits(
    world: World, shape: tuple[int, int, int, int, int], draw: np.random.Generator
) -> NDArray[np.float32]:
    """(N, A + 1, K, S, R): how far each peer of each training is on the right side of each row.

    Arms are draws of one kind, the reference among them, so that on average over new seeds and new
    rows no arm differs from another.
    """
    count, arms, _, seeds, rows = shape

    def noise(size: float, *sizes: int) -> NDArray[np.float32]:
        return np.float32(size) * draw.standard_normal(sizes, dtype=np.float32)

    found = noise(world.peer_row, *shape)
    found += noise(world.arm_row, count, arms, 1, 1, rows)
    found += noise(world.seed_row, count, 1, 1, seeds, rows)
    found += noise(world.seed, count, arms, 1, seeds, 1)
    found += noise(world.hard, count, 1, 1, 1, rows) + np.float32(world.ease)
    return found


def scores(logit: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Row scores of two classes by metric, from the logit of the right one."""
    chance = 1 / (1 + np.exp(-logit))
    return {
        "accuracy": (logit > 0).astype(np.float32),
        "nll": -np.log(chance),
        "brier": 2 * (1 - chance) ** 2,
        "confidence": np.maximum(chance, 1 - chance),
    }


def looks(logit: NDArray[np.float32], metric: str = "accuracy") -> NDArray[np.float32]:
    """(N, A, 2, S, R): differences to the first arm, of mean peer and ensemble."""
    peers = scores(logit)[metric].mean(2)
    together = scores(logit.mean(2))[metric]
    both = np.stack([peers, together], axis=2)  # (N, A + 1, 2, S, R)
    return both[:, 1:] - both[:, :1]
