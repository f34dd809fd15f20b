"""Arms compared seed by seed.

Arms with one seed share initial weights and batches, so their difference is taken within each
seed: what varies from seed to seed alike in both arms cancels, and a t interval over a handful of
differences says whether the rest could be chance.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from peerlearn.errors import InputError, unknown_name

Metric = dict[str, Any]
"""`{"mean": float, "std": float, "values": [one per seed]}`, as in results.json."""

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


def summary(values: Sequence[float]) -> Metric:
    """Mean and sample standard deviation (ddof = 1; 0 for one value) beside the values."""
    if not values:
        raise InputError("summary: no values")
    values = [float(value) for value in values]
    return {"mean": mean(values), "std": _sample_std(values), "values": values}


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

    half = float(stdtrit(n - 1, 0.975)) * _sample_std(gaps) / math.sqrt(n)
    return {"mean": centre, "ci95": [centre - half, centre + half], "n": n}


def differences(arms: Mapping[str, Mapping[str, Any]], against: str) -> list[dict[str, Any]]:
    """The `differences` of results.json: every other arm minus `against`.

    Args:
        arms: arm blocks of results.json by name.
        against: the reference arm.

    Returns:
        One entry for each arm, each of the peers both arms have, `mean_peer` and `ensemble`, and
        each metric both measured: `arm`, `against`, `who`, `metric`, `mean`, `ci95`, `n`.

    Raises:
        InputError: `against` is no arm, or two arms were run over different numbers of seeds.
    """
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
                entries.append(
                    {"arm": arm, "against": against, "who": who, "metric": metric}
                    | paired_difference(a, b)
                )
    return entries


def merge_arm(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One arm block of results.json over seeds, from the block of each seed's run.

    Values of every metric and cost are joined in the order of `runs`; those of a class that a run
    has no row of are left out, so that what is there is there for every seed. Reliability bins are
    pooled, each seed's bin weighing as much as the rows in it. Of flatness and noise, means are
    averaged over seeds and `std` is the spread over noise draws within a seed, √ mean std².
    Anything else (the edges) is one thing for all seeds and taken from the first run.

    Args:
        runs: arm blocks, each over one or more seeds.

    Raises:
        InputError: no run, or runs that did not measure the same things.
    """
    if not runs:
        raise InputError("merge: no run to merge")
    merged = {}
    for key in _keys(runs):
        if key in _NEWER and any(key not in run for run in runs):
            continue
        if key in _MERGED:
            merged[key] = _MERGED[key](_each(runs, key, "the arm"), key)
        else:
            merged[key] = next(run[key] for run in runs if key in run)
    return merged


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


def _metrics_by_who(block: Mapping[str, Any]) -> dict[str, Mapping[str, Metric]]:
    together = {who: block[who] for who in ("mean_peer", "ensemble") if who in block}
    return {**block.get("peers", {}), **together}


def _gap(a: float, b: float) -> float:
    # Rounding is no difference: with no variance over seeds it would pass for a sure one.
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b


def _sample_std(values: Sequence[float]) -> float:
    if len(values) < 2 or min(values) == max(values):
        return 0.0  # exactly: a rounding error would make equal values look uncertain
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def _each(blocks: Sequence[Mapping[str, Any]], key: str, where: str) -> list[Any]:
    """`block[key]` of every block, or an error that says which one lacks it."""
    for run, block in enumerate(blocks, start=1):
        if key not in block:
            raise InputError(
                f"merge: run {run} of {len(blocks)} has no {key!r} in {where}, others have; "
                "seeds of one arm must come from the same configuration and version"
            )
    return [block[key] for block in blocks]


def _keys(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for block in blocks for key in block))


def _join(nodes: Sequence[Any], where: str) -> Any:
    """Nested mappings alike in every run, with their metrics joined over runs."""
    first = nodes[0]
    if isinstance(first, Mapping) and "values" not in first:
        keys = [
            key
            for key in _keys(nodes)
            if not is_of_class(key) or all(key in node for node in nodes)
        ]
        return {key: _join(_each(nodes, key, where), f"{where}.{key}") for key in keys}
    if isinstance(first, Mapping):
        return summary([value for values in _each(nodes, "values", where) for value in values])
    return summary(nodes) if isinstance(first, (int, float)) else first


def _pool_reliability(blocks: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    return {who: _pool_bins(_each(blocks, who, where), f"{where}.{who}") for who in _keys(blocks)}


def _pool_bins(curves: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    fractions = _each(curves, "fraction", where)
    pooled: dict[str, Any] = {}
    for name in ("confidence", "accuracy"):
        seeds = _each(curves, name, where)
        pooled[name] = [
            _weighted_mean(values, weights)
            for values, weights in zip(
                zip(*seeds, strict=True), zip(*fractions, strict=True), strict=True
            )
        ]
    pooled["fraction"] = [mean(weights) for weights in zip(*fractions, strict=True)]
    return pooled


def _weighted_mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    total = sum(weights)
    if not total:
        return None
    return sum(w * v for v, w in zip(values, weights, strict=True) if v is not None) / total


def _pool_curves(blocks: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    sigma, *others = _each(blocks, "sigma", where)
    if any(other != sigma for other in others):
        raise InputError(f"merge: {where}.sigma differs between runs")
    by_peer = _each(blocks, "peers", where)
    peers = {}
    for peer in _keys(by_peer):
        probes = _each(by_peer, peer, f"{where}.peers")
        means, stds = ([probe[key] for probe in probes] for key in ("mean", "std"))
        peers[peer] = {
            "mean": [mean(column) for column in zip(*means, strict=True)],
            "std": [
                math.sqrt(mean([std**2 for std in column])) for column in zip(*stds, strict=True)
            ],
        }
    return {"sigma": sigma, "peers": peers}


_MERGED: dict[str, Callable[[Sequence[Any], str], Any]] = {
    **dict.fromkeys(["peers", "mean_peer", "ensemble", "cost", "between_peers"], _join),
    **dict.fromkeys(["sizes", "class_weights"], _join),
    "reliability": _pool_reliability,
    **dict.fromkeys(["flatness", "noise"], _pool_curves),
}
# What runs of earlier versions lack: a comparison that was begun with one can still be finished.
_NEWER = ("sizes", "class_weights")
