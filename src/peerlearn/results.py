"""`results.json`: what a run or a comparison measured, in the one layout that everything reads.

A run has one arm and one seed, a comparison all of them. The types below say what a file holds;
`load` checks it as far as readers rely on it. Keys of other versions are left as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NotRequired, TypedDict, cast

from peerlearn.errors import InputError
from peerlearn.files import read_json, write_json
from peerlearn.metrics.catalogue import Metric, is_of_class
from peerlearn.metrics.confusion import added
from peerlearn.metrics.uncertainty import pointwise_mean
from peerlearn.provenance import MadeBy
from peerlearn.results_checks import (
    AVERAGED,
    CURVES,
    MEASURED,
    NEWER_METRICS,
    NEWER_OF_PEERS,
    OF_PEERS,
    checked,
    checked_run,
)

SCHEMA = 1


class Summary(TypedDict):
    """One metric over seeds; null where a value was not finite."""

    mean: float
    std: float
    values: list[float]


Measured = dict[str, Summary]
"""By the name of the metric."""


class Bins(TypedDict):
    """A reliability diagram by bin; null in empty bins."""

    confidence: list[float | None]
    accuracy: list[float | None]
    fraction: list[float]


class Spread(TypedDict):
    """A curve, and the standard deviation over draws of noise."""

    mean: list[float]
    std: list[float]


class Curves(TypedDict):
    """A quantity over growing noise, by peer."""

    sigma: list[float]
    peers: dict[str, Spread]


class Confusion(TypedDict):
    """Which classes are taken for which, of peers and ensemble; see `metrics.confusion`."""

    classes: list[str]
    of: dict[str, dict[str, list[int]]]


class Arm(TypedDict, total=False):
    """What was measured of one arm.

    `validation` is of the weights that peers hold, by the metric that selects. `epochs` says which
    epoch these are `selected` from, `of` how many, and the first that counts (`from`; where it is
    not there, none does). `calibration` has the temperatures of peers, and what was measured before
    logits were divided by them. `members` make the ensemble. `edges` are described by
    `TransferGraph.edges`; pairs of peers are called `a~b`. `open_edges`: of the validations after
    which an edge was open, by learner and teacher. `posteriors` are those of Bayesian peers at the
    end of training: KL a row, medians of σ and of |μ|/σ (`signal`). Curves of `selective` answers,
    of rows out of distribution (`ood`) and of `corruption` are described where they are made: in
    `metrics.assessment`, `tasks.classification.outside` and `engine.probes`.
    """

    peers: dict[str, Measured]
    mean_peer: Measured
    ensemble: Measured
    between_peers: dict[str, Measured]
    reliability: dict[str, Bins]
    flatness: Curves
    noise: Curves
    edges: list[dict[str, Any]]
    cost: Measured
    class_weights: dict[str, Measured]
    open_edges: dict[str, Measured]
    posteriors: dict[str, Measured]
    posterior_distances: dict[str, Measured]
    sizes: dict[str, Measured]
    validation: dict[str, Measured]
    epochs: dict[str, Measured]
    calibration: dict[str, Measured]
    members: list[str]
    confusion: Confusion
    selective: dict[str, Any]
    ood: dict[str, Any]
    corruption: dict[str, Any]


class Difference(TypedDict):
    """An arm minus another, paired by seed; what is not known is null.

    `ci95` covers other "seeds" or "seeds and test rows", nothing for a single seed; `p` is not
    corrected for how many there are. `rows` are test rows, of all seeds where each has its own;
    on `differing_rows` of them the arms differ. See `report.intervals`.
    """

    arm: str
    against: str
    who: str
    metric: str
    mean: float
    ci95: list[float] | None
    n: int
    covers: str | None
    p: float | None
    rows: int | None
    rows_shared: bool | None
    differing_rows: int | None
    half_with_twice_rows: float | None
    half_with_twice_seeds: float | None


class Results(TypedDict):
    """The whole file.

    `selected` says of a run which epoch each peer's weights are from; see `unlike_planned` for
    `stages`. `metrics` describes those that only this configuration measures. `made_by` says what
    made a run; of a comparison whose cells were not all made alike, it lists every maker. `account`
    says what was read of the data and left out.
    """

    schema: int
    recipe: str
    run: NotRequired[str]
    data: str
    seeds: list[int]
    arms: dict[str, Arm]
    differences: list[Difference]
    selected: NotRequired[dict[str, dict[str, Any]]]
    stages: NotRequired[dict[str, dict[str, Any]]]
    metrics: NotRequired[dict[str, dict[str, str | None]]]
    made_by: NotRequired[list[MadeBy]]
    account: NotRequired[list[str]]


def account_of(results: Results) -> list[str]:
    """What was read of the data and what was left out, in sentences."""
    said: Any = results.get("account")
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else []


def of_one_seed(
    recipe: str, data: str, seed: int, arm: str, block: Mapping[str, Any], run: str | None = None
) -> Results:
    """The results of one run: `block` as measured, plain numbers; `run` if measured again."""
    head = {"schema": SCHEMA, "recipe": recipe} | ({} if run is None else {"run": run})
    body = {"data": data, "seeds": [seed], "arms": {arm: one_seed(block)}, "differences": []}
    return cast(Results, head | body)


def describe(results: Results, measured: Sequence[Metric]) -> Results:
    """The results with the entry `metrics` of those that no catalogue knows, if there are any."""
    if measured:
        results["metrics"] = {metric.name: metric.described for metric in measured}
    return results


def unlike_planned(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Stages that ended early, or got more epochs on the way: what was trained, what was planned.

    Returns:
        By stage `epochs` that it had, the lengths `of` that were planned one after the other, and
        `stopped` where something ended it, such as "patience".
    """
    odd = {}
    for stage in dict.fromkeys(record["stage"] for record in history):
        records = [record for record in history if record["stage"] == stage]
        planned = list(dict.fromkeys(record["of"] for record in records))
        stopped = {key: records[-1][key] for key in ("stopped",) if key in records[-1]}
        if len(planned) > 1 or stopped:
            odd[stage] = {"epochs": records[-1]["epoch"], "of": planned} | stopped
    return odd


def load(path: Path) -> Results:
    """Read a results file. Raises InputError: no such file, or see `check`."""
    return check(read_json(path), path)


def load_run(path: Path) -> Results:
    """Read the results file of a single run.

    Raises InputError: see `load`; or no name of its data, or an arm without peers that were
    measured, their mean and their ensemble.
    """
    return cast(Results, checked_run(load(path), path))


def check(given: Any, path: Path) -> Results:
    """See that what a file holds has what readers rely on, else InputError: file and field."""
    return cast(Results, checked(given, path))


def save(path: Path, results: Results) -> None:
    """Write a results file, atomically; NaN and infinity become null. Raises RunError."""
    write_json(path, results)


def summary(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation (ddof = 1; 0 for one value) beside the values."""
    if not values:
        raise InputError("summary: no values")
    values = [float(value) for value in values]
    return {"mean": mean(values), "std": sample_std(values), "values": values}


def sample_std(values: Sequence[float]) -> float:
    """The standard deviation with n − 1, exactly 0 where all values are equal."""
    if len(values) < 2 or min(values) == max(values):
        return 0.0  # a rounding error would make equal values look uncertain
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def one_seed(block: Mapping[str, Any]) -> Arm:
    """An arm of one run: every metric of `block` as the summary of one value."""
    summed = {part: _summaries(block[part]) for part in (*MEASURED, *OF_PEERS) if part in block}
    return cast(Arm, dict(block) | summed)


def _summaries(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _summaries(inner) for name, inner in node.items()}
    return {"mean": node, "std": 0.0, "values": [node]}


def merge(runs: Sequence[Mapping[str, Any]]) -> Arm:
    """One arm block of results.json over seeds, from the block of each seed's run.

    Values of every metric and cost are joined in the order of `runs`; those of a class that a run
    could not measure are left out, so that what is there is there for every seed. Confusions are
    added up. Reliability bins are pooled, each seed's bin weighing as much as the rows in it. Of
    flatness and noise, means are averaged over seeds and `std` is the spread over noise draws
    within a seed,
    √ mean std². Other curves are averaged point by point.
    Anything else (the edges) is one thing for all seeds and taken from the first run.

    Raises InputError: no run, or runs that did not measure the same things.
    """
    if not runs:
        raise InputError("merge: no run to merge")
    merged: dict[str, Any] = {}
    for key in _keys(runs):
        if key in _NEWER and any(key not in run for run in runs):
            continue
        if key in _MERGED:
            merged[key] = _MERGED[key](_each(runs, key, "the arm"), key)
        else:
            merged[key] = next(run[key] for run in runs if key in run)
    return cast(Arm, merged)


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
    if not isinstance(first, Mapping):
        return summary(nodes) if isinstance(first, (int, float)) else first
    if "values" in first:
        return summary([value for values in _each(nodes, "values", where) for value in values])
    return {
        key: _join(_each(nodes, key, where), f"{where}.{key}")
        for key in _keys(nodes)
        if not (is_of_class(key) or key in NEWER_METRICS)
        or all(_is_measured(node.get(key)) for node in nodes)
    }


def _is_measured(metric: Any) -> bool:
    """Whether a metric has a value for every seed."""
    values = metric["values"] if isinstance(metric, Mapping) else [metric]
    return all(value is not None and not math.isnan(value) for value in values)


def _pool_reliability(blocks: Sequence[Mapping[str, Any]], where: str) -> dict[str, Bins]:
    return {who: _pool_bins(_each(blocks, who, where), f"{where}.{who}") for who in _keys(blocks)}


def _pool_bins(curves: Sequence[Mapping[str, Any]], where: str) -> Bins:
    fractions = list(zip(*_each(curves, "fraction", where), strict=True))
    pooled: dict[str, Any] = {}
    for name in ("confidence", "accuracy"):
        bins = zip(*_each(curves, name, where), strict=True)
        pooled[name] = [_weighted_mean(v, w) for v, w in zip(bins, fractions, strict=True)]
    pooled["fraction"] = [mean(weights) for weights in fractions]
    return cast(Bins, pooled)


def _weighted_mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    total = sum(w * v for v, w in zip(values, weights, strict=True) if v is not None)
    return total / sum(weights) if sum(weights) else None


def _pool_curves(blocks: Sequence[Mapping[str, Any]], where: str) -> Curves:
    sigma, *others = _each(blocks, "sigma", where)
    if any(other != sigma for other in others):
        raise InputError(f"merge: {where}.sigma differs between runs")
    by_peer = _each(blocks, "peers", where)
    peers: dict[str, Spread] = {}
    for peer in _keys(by_peer):
        probes = _each(by_peer, peer, f"{where}.peers")
        columns = {key: zip(*_each(probes, key, where), strict=True) for key in ("mean", "std")}
        peers[peer] = {
            "mean": [mean(draws) for draws in columns["mean"]],
            "std": [math.sqrt(mean([std**2 for std in draws])) for draws in columns["std"]],
        }
    return {"sigma": sigma, "peers": peers}


def _average(blocks: Sequence[Mapping[str, Any]], where: str) -> Any:
    try:
        return pointwise_mean(blocks)
    except ValueError as error:
        raise InputError(f"merge: {where} differs between runs: {error}") from error


def _add_confusions(blocks: Sequence[Mapping[str, Any]], where: str) -> Confusion:
    by_who = _each(blocks, "of", where)
    of = {who: added(_each(by_who, who, f"{where}.of")) for who in _keys(by_who)}
    return {"classes": blocks[0]["classes"], "of": of}


_MERGED: dict[str, Callable[[Sequence[Any], str], Any]] = {
    **dict.fromkeys((*OF_PEERS, *MEASURED), _join),
    "reliability": _pool_reliability,
    **dict.fromkeys(CURVES, _pool_curves),
    **dict.fromkeys(AVERAGED, _average),
    "confusion": _add_confusions,
}
_NEWER = (*NEWER_OF_PEERS, "members", "confusion", "selective")
