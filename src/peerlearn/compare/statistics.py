"""Arms compared seed by seed.

Arms with one seed share initial weights and batches, so their difference is taken within each
seed: what varies from seed to seed alike in both arms cancels, and a t interval over a handful of
differences says whether the rest could be chance.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, cast

from peerlearn.errors import InputError, unknown_name
from peerlearn.results import Arm, Difference, Measured, sample_std

REFERENCE = "independent"
"""The arm whose peers do not teach each other."""

_DIRECTION = {
    **dict.fromkeys(["accuracy", "top5", "exact_match", "f1"], +1),
    **dict.fromkeys(["dice", "iou", "cluster_accuracy", "nmi", "ari", "recall", "ndcg"], +1),
    **dict.fromkeys(["known_accuracy", "test_cluster_accuracy", "oracle_cluster_accuracy"], +1),
    **dict.fromkeys(["all_accuracy", "old_accuracy", "new_accuracy"], +1),
    **dict.fromkeys(["pair_precision", "pair_recall"], +1),
    **dict.fromkeys(["acc", "ra", "der"], +1),  # backdoors: clean and robust accuracy, defence
    **dict.fromkeys(["nll", "ece", "adaptive_ece", "brier"], -1),
    "asr": -1,  # attack success rate
    "hd95": -1,  # a distance between boundaries, in pixels
}


def paired_difference(a_values: Sequence[float], b_values: Sequence[float]) -> dict[str, Any]:
    """Mean of a − b over pairs, with its 95 % Student t interval.

        mean ± t(0.975, n − 1) · s / √n,     s the sample standard deviation of the n differences

    Differences that are all equal give an interval of no width.

    Args:
        a_values, b_values: one value per seed, in one order of seeds.

    Returns:
        `mean`, `ci95` as [low, high], or None for a single pair, and `n`.

    Raises:
        InputError: no values, or not as many in one as in the other.
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
    """The `differences` of results.json: every other arm minus `against`.

    Args:
        arms: arm blocks of results.json by name.
        against: the reference arm; None for `independent`, or the first where there is none.

    Returns:
        One entry for each arm, each of the peers both arms have, `mean_peer` and `ensemble`, and
        each metric both measured: `arm`, `against`, `who`, `metric`, `mean`, `ci95`, `n`.

    Raises:
        InputError: `against` is no arm, or two arms were run over different numbers of seeds.
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
                if len(a) != len(b):
                    raise InputError(
                        f"arms {arm!r} and {against!r}: {who} {metric} has {len(a)} and {len(b)} "
                        "seeds; pairs need the same seeds in both"
                    )
                what = {"arm": arm, "against": against, "who": who, "metric": metric}
                entries.append(what | paired_difference(a, b))
    return cast(list[Difference], entries)


def direction(metric: str) -> int:
    """+1 where higher is better, −1 where lower is, 0 where neither is (entropy, cost).

    Neither a cut-off nor a class matters: `recall@20` is read as `recall`, `iou:road` as `iou`.
    """
    return _DIRECTION.get(base_metric(metric).partition("@")[0], 0)


def base_metric(metric: str) -> str:
    """What is measured, whichever class it is measured of: `iou:road` → `iou`."""
    return metric.partition(":")[0]


def is_of_class(metric: str) -> bool:
    """Whether the metric is that of one class, such as `iou:road`."""
    return ":" in metric


def better(entry: Mapping[str, Any]) -> str | None:
    """Which side of a difference is better: "arm", "against", or None.

    None where the 95 % interval holds zero, where there is no interval (one seed), and for metrics
    without a better direction.
    """
    interval, sign = entry["ci95"], direction(entry["metric"])
    if interval is None or sign == 0:
        return None
    low, high = interval
    if low > 0:
        return "arm" if sign > 0 else "against"
    if high < 0:
        return "against" if sign > 0 else "arm"
    return None


def _metrics_by_who(block: Arm) -> dict[str, Measured]:
    by_who = dict(block.get("peers", {}))
    for who in ("mean_peer", "ensemble"):
        by_who |= {who: block[who]} if who in block else {}
    return by_who


def _gap(a: float, b: float) -> float:
    # Rounding is no difference: with no variance over seeds it would pass for a sure one.
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b
