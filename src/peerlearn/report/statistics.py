"""Arms compared seed by seed.

Arms with one seed share initial weights and batches, so their difference is taken within each
seed: what varies from seed to seed alike in both arms cancels, and a t interval over a handful of
differences says whether the rest could be chance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal, Self, cast

from peerlearn.errors import InputError, unknown_name
from peerlearn.metrics.catalogue import Catalogue, Metric
from peerlearn.results import Arm, Difference, Measured, sample_std

REFERENCE = "independent"
"""The arm whose peers do not teach each other."""


def paired_difference(a_values: Sequence[float], b_values: Sequence[float]) -> dict[str, Any]:
    """Mean of a − b over pairs, with its 95 % Student t interval.

        mean ± t(0.975, n − 1) · s / √n,     s the sample standard deviation of the n differences

    Both have one value per seed, in one order of seeds. Gives `mean`, `ci95` as [low, high], or
    None for a single pair, and `n`; differences that are all equal give an interval of no width.

    Raises InputError: no values, or not as many in one as in the other.
    """
    if not a_values or len(a_values) != len(b_values):
        raise InputError(
            f"paired difference: {len(a_values)} and {len(b_values)} values do not make pairs"
        )
    gaps = [_gap(float(a), float(b)) for a, b in zip(a_values, b_values, strict=True)]
    n, centre = len(gaps), mean(gaps)
    if n < 2:
        return {"mean": centre, "ci95": None, "n": n}
    # The same quantile as scipy.stats.t.ppf, without a second of imports.
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975)) * sample_std(gaps) / math.sqrt(n)
    return {"mean": centre, "ci95": [centre - half, centre + half], "n": n}


def differences(arms: Mapping[str, Arm], against: str | None = None) -> list[Difference]:
    """The `differences` of results.json: every other arm minus `against`, with its interval.

    An entry for each arm, each of the peers both arms have, `mean_peer` and `ensemble`, and each
    metric both measured. `against` is `independent`, or the first arm, unless given.

    Raises InputError: `against` is no arm, or two arms have different numbers of seeds.
    """
    against = against or (REFERENCE if REFERENCE in arms else next(iter(arms)))
    if against not in arms:
        raise unknown_name("arm", against, arms)
    reference = _metrics_by_who(arms[against])
    entries = []
    for arm, block in arms.items():
        if arm == against:
            continue
        for who, metrics in _metrics_by_who(block).items():
            other = reference.get(who, {})
            for metric in (name for name in metrics if name in other):
                a, b = metrics[metric]["values"], other[metric]["values"]
                if None in (*a, *b):  # of a class that a run could not measure
                    continue
                if len(a) != len(b):
                    raise InputError(
                        f"arms {arm!r} and {against!r}: {who} {metric} has {len(a)} and {len(b)} "
                        "seeds; pairs need the same seeds in both"
                    )
                what = {"arm": arm, "against": against, "who": who, "metric": metric}
                entries.append(what | paired_difference(a, b))
    return cast(list[Difference], entries)


def _metrics_by_who(block: Arm) -> dict[str, Measured]:
    by_who = dict(block.get("peers", {}))
    for who in ("mean_peer", "ensemble"):
        by_who |= {who: block[who]} if who in block else {}
    return by_who


def _gap(a: float, b: float) -> float:
    # Rounding is no difference: with no variance over seeds it would pass for a sure one.
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b


@dataclass(frozen=True)
class Contrast:
    """An entry of `differences`, and what it shows."""

    arm: str
    against: str
    who: str  # a peer, mean_peer or ensemble
    metric: Metric
    mean: float
    interval: tuple[float, float] | None  # of 95 %; None where there is none, as with one seed
    n: int | None

    @classmethod
    def read(cls, entry: Mapping[str, Any], metrics: Catalogue) -> Self:
        """From an entry of results.json; whatever cannot be an interval is none."""
        ends = entry.get("ci95")
        if not (isinstance(ends, (list, tuple)) and len(ends) == 2 and all(map(is_finite, ends))):
            ends = None
        return cls(
            entry["arm"],
            entry["against"],
            entry["who"],
            metrics[entry["metric"]],
            math.nan if entry["mean"] is None else entry["mean"],
            None if ends is None else (float(ends[0]), float(ends[1])),
            entry.get("n"),
        )

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        low, high = self.interval or (0.0, 0.0)
        return low > 0 or high < 0

    @property
    def winner(self) -> Literal["arm", "against"] | None:
        """Which arm is shown to be better; None without interval or direction, or zero in it."""
        if self.interval is None or not self.excludes_zero or self.metric.better is None:
            return None
        return "arm" if self.metric.beats(self.interval[0], 0.0) else "against"

    @property
    def side(self) -> Literal["better", "worse", ""]:
        """What is shown of the arm; empty for nothing."""
        return "" if self.winner is None else "better" if self.winner == "arm" else "worse"


def is_finite(value: Any) -> bool:
    """Whether this is a number of JSON, and neither NaN nor infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
