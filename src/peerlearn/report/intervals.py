"""How far a mean difference may be from the one of other seeds and other test rows.

Two arms that were trained with S seeds and tested on R rows give a table of differences, S × R. Its
mean m stands for μ, what is to be expected of a new seed *and* a new row. With d the means of seeds
and c the means of rows,

    V_seed = Σ_s (d_s − m)² / ((S − 1) S)
    V_row  = Σ_j (c_j − m)² / ((R − 1) R)
    V_int  = Σ_sj (D_sj − d_s − c_j + m)² / ((S − 1)(R − 1) S R)
    half²  = z² V_row + max(0, t² V_seed − k z² V_int)

where t and z are Student quantiles with S − 1 and R − 1 degrees of freedom. Seeds and rows each
hold V_int once, so it is taken off where that can be afforded: k is 2 for three seeds, 1.25 for
four, 1 from five on; nothing is taken off with two. Scores in 0..1 have `half` of at least 1 / R,
one row. Found by simulation, see benchmarks/intervals; the draw of *training* rows is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALPHA = 0.05
"""How often marks may be wrong: over all comparisons that were looked at, together."""
LEAST_SEEDS = 3
"""Fewer mark nothing."""
_TAKEN_OFF = {2: 0.0, 3: 2.0, 4: 1.25}  # k; 1 for more seeds
_SMALLEST_P = 1e-12


@dataclass(frozen=True)
class Crossed:
    """Mean and variances of tables whose rows are the same for all seeds.

    Shapes: mean, seed, row, cross: those of the tables without their last two axes.
    """

    mean: Array
    seed: Array
    row: Array
    cross: Array
    seeds: int
    rows: int
    floor: float = 0.0

    def half(self, alpha: Any = ALPHA) -> Array:
        """Half the width of the interval that misses with probability `alpha`."""
        t = _quantile(self.seeds - 1, alpha)
        z = _quantile(self.rows - 1, alpha)
        taken_off = _TAKEN_OFF.get(self.seeds, 1.0) * z**2 * self.cross
        squared = z**2 * self.row + np.maximum(0.0, t**2 * self.seed - taken_off)
        return np.maximum(np.sqrt(squared), self.floor)

    def with_twice_the_rows(self) -> "Crossed":
        """What is to be expected of a comparison on twice as many test rows."""
        seed = np.maximum(self.seed - self.cross / 2, self.seed / 2)  # what rows have a part in
        row, cross = self.row / 2, self.cross / 2
        return Crossed(self.mean, seed, row, cross, self.seeds, 2 * self.rows, self.floor / 2)

    def with_twice_the_seeds(self) -> "Crossed":
        """What is to be expected of a comparison with twice as many seeds."""
        row = np.maximum(self.row - self.cross / 2, self.row / 2)
        seed, cross = self.seed / 2, self.cross / 2
        return Crossed(self.mean, seed, row, cross, 2 * self.seeds, self.rows, self.floor)


def crossed(table: NDArray[Any], bounded: bool) -> Crossed:
    """Variances of tables of differences.

    Args:
        table: (…, S, R), two seeds and two rows or more.
        bounded: whether scores are in 0..1, so that nothing is known better than one row.
    """
    table = np.asarray(table, dtype=np.float64)
    seeds, rows = table.shape[-2:]
    of_seed, of_row = table.mean(-1), table.mean(-2)
    mean = of_seed.mean(-1)
    seed = ((of_seed - mean[..., None]) ** 2).sum(-1) / ((seeds - 1) * seeds)
    row = ((of_row - mean[..., None]) ** 2).sum(-1) / ((rows - 1) * rows)
    rest = table - of_seed[..., None] - of_row[..., None, :] + mean[..., None, None]
    cross = (rest**2).sum((-1, -2)) / ((seeds - 1) * (rows - 1) * seeds * rows)
    return Crossed(mean, seed, row, cross, seeds, rows, 1.0 / rows if bounded else 0.0)


@dataclass(frozen=True)
class BySeed:
    """Mean and variances where every seed has test rows of its own, as folds have.

    The wider one of what seeds show and what rows within them show counts:
    half = max(t √V_seed, z √V_row).
    """

    mean: float
    seed: float
    row: float
    seeds: int
    rows: int  # of all seeds
    floor: float = 0.0

    def half(self, alpha: Any = ALPHA) -> Array:
        """Half the width of the interval that misses with probability `alpha`."""
        t, z = _quantile(self.seeds - 1, alpha), _quantile(self.rows - self.seeds, alpha)
        return np.maximum(np.maximum(t * self.seed**0.5, z * self.row**0.5), self.floor)


def by_seed(differences: Sequence[NDArray[Any]], bounded: bool) -> BySeed:
    """Variances of differences on rows that are other ones in every seed: (R_s,) each, R_s ≥ 2."""
    columns = [np.asarray(each, dtype=np.float64) for each in differences]
    means = [float(each.mean()) for each in columns]
    seeds, rows = len(columns), sum(map(len, columns))
    row = sum(float(each.var(ddof=1)) / len(each) for each in columns) / seeds**2
    return BySeed(
        float(np.mean(means)),
        float(np.var(means, ddof=1)) / seeds,
        row,
        seeds,
        rows,
        1.0 / rows if bounded else 0.0,
    )


@dataclass(frozen=True)
class OverSeeds:
    """Mean and variance over seeds alone: a Student interval, which leaves the rows out."""

    mean: float
    seed: float
    seeds: int

    def half(self, alpha: Any = ALPHA) -> Array:
        """Half the width of the interval that misses with probability `alpha`."""
        return _quantile(self.seeds - 1, alpha) * self.seed**0.5


def p_value(found: Crossed | BySeed | OverSeeds, differing: Any = None) -> Array:
    """The smallest α at which the interval leaves zero out, rounded up; 1 for none.

    Of binary scores `differing` is the number of rows on which arms differ. By chance all of d
    such rows favour the same arm with probability 2^(1 − d), so no p-value is smaller than that.
    """
    size = np.abs(np.asarray(found.mean, dtype=np.float64))
    low, high = np.full_like(size, np.log(_SMALLEST_P)), np.zeros_like(size)
    for _ in range(40):
        middle = (low + high) / 2
        outside = size > found.half(np.exp(middle))
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    p = np.exp(high)
    return p if differing is None else np.maximum(p, np.minimum(1.0, 2.0 ** (1.0 - differing)))


def holm(p_values: NDArray[Any]) -> Array:
    """Adjusted p-values of families: one is significant where its own is at most α.

    The chance that any of a family is falsely so is α at most, however they depend on each other.

    Shapes: (…, M) families of M. Returns the same.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, axis=-1, kind="stable")
    weights = np.arange(p_values.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, -1) * weights, axis=-1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), -1)
    return adjusted


def student_p(t: float, seeds: int) -> float:
    """The two-sided p-value of a mean that is t standard errors away from zero."""
    from scipy.special import stdtr

    return float(2 * stdtr(seeds - 1, -abs(t)))


def _quantile(freedom: int, alpha: Any) -> Array:
    """At 1 − α/2; from the lower end, where small α are exact."""
    # The same as scipy.stats.t.ppf, without a second of imports.
    from scipy.special import stdtrit

    return np.asarray(-stdtrit(freedom, np.asarray(alpha) / 2))
