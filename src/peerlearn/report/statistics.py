"""Arms compared seed by seed.

Arms with one seed share initial weights and batches, so their difference is taken within each
seed: what varies from seed to seed alike in both arms cancels, and an interval says whether the
rest could be chance, of seeds and, where scores of single rows were kept, of test rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Literal, Self, cast

import numpy as np

from peerlearn.errors import InputError, unknown_name
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue, Metric, is_of_class
from peerlearn.report.intervals import (
    ALPHA,
    LEAST_SEEDS,
    BySeed,
    Crossed,
    OverSeeds,
    by_seed,
    crossed,
    holm,
    p_value,
    student_p,
)
from peerlearn.report.row_tables import Differences, Rows, row_differences
from peerlearn.results import Arm, Difference, Measured, sample_std

REFERENCE = "independent"
"""The arm whose peers do not teach each other."""
TOGETHER = ("mean_peer", "ensemble")
"""Those of whom something is measured beside the peers, and who are marked."""
BOTH = "seeds and test rows"
SEEDS = "seeds"
_ROUNDING = 1e-7


def paired_difference(
    a_values: Sequence[float],
    b_values: Sequence[float],
    rows: Differences | None = None,
    bounded: bool = False,
) -> dict[str, Any]:
    """Mean of a − b over pairs, with its 95 % interval and p-value.

    Without `rows` it is a Student interval over seeds, which does not cover other test rows:

        mean ± t(0.975, n − 1) · s / √n,     s the sample standard deviation of the n differences

    With `rows` see `intervals`. Both have one value per seed, in one order of seeds; `bounded`
    scores are in 0..1. Gives the fields of `Difference` that are measured. `ci95` is None for a
    single pair, and where nothing varies, of which no width can be told; `p` for two pairs too.

    Raises InputError: no values, or not as many in one as in the other.
    """
    if not a_values or len(a_values) != len(b_values):
        raise InputError(
            f"paired difference: {len(a_values)} and {len(b_values)} values do not make pairs"
        )
    gaps = [_gap(float(a), float(b)) for a, b in zip(a_values, b_values, strict=True)]
    n, centre = len(gaps), mean(gaps)
    entry: dict[str, Any] = {"mean": centre, "ci95": None, "n": n, "covers": None, "p": None}
    if rows is not None:
        entry |= {"rows": _count(rows), "rows_shared": rows.shared}
        entry |= {"differing_rows": rows.differing} if rows.binary else {}
    if n < 2:
        return entry
    found: Crossed | BySeed | OverSeeds
    if rows is None:
        size = max(map(abs, [*a_values, *b_values]))
        # Equal differences do not make them sure: with no variance nothing is known of it.
        varies = not sample_std(gaps) <= _ROUNDING * size
        found = OverSeeds(centre, sample_std(gaps) ** 2 / n if varies else 0.0, n)
    elif rows.shared:
        found = crossed(np.stack(rows.by_seed), bounded)
        for twice, planned in (
            ("rows", found.with_twice_the_rows()),
            ("seeds", found.with_twice_the_seeds()),
        ):
            entry[f"half_with_twice_{twice}"] = float(planned.half())
    else:
        found = by_seed(rows.by_seed, bounded)
    half = float(found.half())
    if half == 0:
        return entry
    entry |= {"ci95": [centre - half, centre + half], "covers": SEEDS if rows is None else BOTH}
    if n >= LEAST_SEEDS:
        entry["p"] = float(p_value(found, entry.get("differing_rows")))
    return entry


def _count(rows: Differences) -> int:
    return len(rows.by_seed[0]) if rows.shared else sum(map(len, rows.by_seed))


_NOT_KNOWN: dict[str, Any] = dict.fromkeys(
    (
        *("rows", "rows_shared", "differing_rows"),
        *("half_with_twice_rows", "half_with_twice_seeds"),
    )
)


def differences(
    arms: Mapping[str, Arm],
    against: str | None = None,
    metrics: Catalogue | None = None,
    rows: Rows | None = None,
) -> list[Difference]:
    """The `differences` of results.json: every other arm minus `against`, with its interval.

    An entry for each arm, each of the peers both arms have, `mean_peer` and `ensemble`, and each
    metric both measured. `against` is `independent`, or the first arm, unless given. `rows` are
    the scores of single test rows of those arms that kept them.

    Raises InputError: `against` is no arm, or two arms have different numbers of seeds.
    """
    metrics = Catalogue(CLASSIFICATION) if metrics is None else metrics
    against = against or (REFERENCE if REFERENCE in arms else next(iter(arms)))
    if against not in arms:
        raise unknown_name("arm", against, arms)
    reference = _metrics_by_who(arms[against])
    entries = []
    for arm, block in arms.items():
        if arm == against:
            continue
        scored = [(rows or {})[name] for name in (arm, against) if name in (rows or {})]
        for who, measured in _metrics_by_who(block).items():
            other = reference.get(who, {})
            for metric in (name for name in measured if name in other):
                a, b = measured[metric]["values"], other[metric]["values"]
                if None in (*a, *b):  # of a class that a run could not measure
                    continue
                if len(a) != len(b):
                    raise InputError(
                        f"arms {arm!r} and {against!r}: {who} {metric} has {len(a)} and {len(b)} "
                        "seeds; pairs need the same seeds in both"
                    )
                what = {"arm": arm, "against": against, "who": who, "metric": metric}
                found = None
                if len(scored) == 2 and all(len(each) == len(a) for each in scored):
                    found = row_differences(scored, (block, arms[against]), who, metric)
                told = paired_difference(a, b, found, metrics[metric].is_fraction)
                entries.append(what | _NOT_KNOWN | told)
    return cast(list[Difference], entries)


def _metrics_by_who(block: Arm) -> dict[str, Measured]:
    by_who = dict(block.get("peers", {}))
    for who in TOGETHER:
        by_who |= {who: cast(Measured, block[who])} if who in block else {}  # type: ignore[literal-required]
    return by_who


def _gap(a: float, b: float) -> float:
    # Rounding is no difference.
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b


@dataclass(frozen=True)
class Contrast:
    """An entry of `differences`, and what it shows.

    Attributes:
        interval: of 95 %, by itself; None where there is none, as with one seed.
        rows: how many test rows the interval covers; None where it covers seeds alone.
        differing: on how many of them the arms differ, of scores that are right or wrong.
        twice: half the width to be expected with twice the rows, and with twice the seeds.
        adjusted: its p-value among all `looks`; None where it is not one that can be marked.
        looks: how many comparisons can be marked, of which this may be one; see `contrasts`.
    """

    arm: str
    against: str
    who: str  # a peer, mean_peer or ensemble
    metric: Metric
    mean: float
    interval: tuple[float, float] | None
    n: int | None
    rows: int | None = None
    rows_shared: bool = True
    differing: int | None = None
    twice: tuple[float, float] | None = None
    p: float | None = None
    adjusted: float | None = None
    looks: int = 0

    @classmethod
    def read(cls, entry: Mapping[str, Any], metrics: Catalogue) -> Self:
        """From an entry of results.json; whatever cannot be an interval is none."""
        ends, n = entry.get("ci95"), entry.get("n")
        if not (isinstance(ends, (list, tuple)) and len(ends) == 2 and all(map(is_finite, ends))):
            ends = None
        elif ends[1] - ends[0] <= _ROUNDING * max(map(abs, ends)):
            ends = None  # an earlier version wrote equal differences as an interval of no width
        centre = math.nan if entry["mean"] is None else entry["mean"]
        interval = None if ends is None else (float(ends[0]), float(ends[1]))
        covers_rows = entry.get("covers") == BOTH
        twice: list[Any] = [entry.get(f"half_with_twice_{what}") for what in ("rows", "seeds")]
        return cls(
            entry["arm"],
            entry["against"],
            entry["who"],
            metrics[entry["metric"]],
            centre,
            interval,
            n,
            entry.get("rows") if covers_rows or interval is None else None,
            entry.get("rows_shared") is not False,
            entry.get("differing_rows"),
            (float(twice[0]), float(twice[1])) if all(map(is_finite, twice)) else None,
            entry["p"] if "p" in entry else _older_p(centre, interval, n),
        )

    @property
    def tested(self) -> bool:
        """Whether it is one of those that can be marked."""
        return self.adjusted is not None

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is excluded once all that was looked at counts."""
        low, high = self.interval or (0.0, 0.0)
        return (low > 0 or high < 0) and self.adjusted is not None and self.adjusted <= ALPHA

    @property
    def winner(self) -> Literal["arm", "against"] | None:
        """Which arm is shown to be better; None where nothing is, or metrics have no direction."""
        if not self.excludes_zero or self.metric.better is None:
            return None
        return "arm" if self.metric.beats(self.mean, 0.0) else "against"

    @property
    def side(self) -> Literal["better", "worse", ""]:
        """What is shown of the arm; empty for nothing."""
        return "" if self.winner is None else "better" if self.winner == "arm" else "worse"


def contrasts(entries: Sequence[Mapping[str, Any]], metrics: Catalogue) -> list[Contrast]:
    """The `differences` of a results.json, and which of them may be called better or worse.

    One metric can be, the first headline of the catalogue that was measured, of mean peer and
    ensemble. Every arm × who of these is a look, and p-values are adjusted for all looks by Holm's
    method: in 5 % of comparisons at most is anything marked where nothing differs. With fewer than
    three seeds nothing is.
    """
    read = [Contrast.read(entry, metrics) for entry in entries]
    candidates = [e.metric.name for e in read if e.who in TOGETHER]
    primary = metrics.main(name for name in candidates if not is_of_class(name))
    places = [i for i, e in enumerate(read) if e.metric.name == primary and e.who in TOGETHER]
    adjusted = holm(np.array([1.0 if (p := read[i].p) is None else p for i in places]))
    by_place = dict(zip(places, adjusted.tolist(), strict=True))
    return [
        replace(entry, adjusted=by_place.get(place), looks=len(places))
        for place, entry in enumerate(read)
    ]


def _older_p(centre: float, interval: tuple[float, float] | None, n: Any) -> float | None:
    """Of an entry that an earlier version wrote, with a Student interval over seeds."""
    if interval is None or not is_finite(n) or n < LEAST_SEEDS or math.isnan(centre):
        return None
    standard_error = (interval[1] - interval[0]) / 2 / float(OverSeeds(0.0, 1.0, n).half())
    return student_p(centre / standard_error, n)


def is_finite(value: Any) -> bool:
    """Whether this is a number of JSON, and neither NaN nor infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
