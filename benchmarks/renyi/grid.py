"""The order × weight grid as tables: every cell, and what order and weight do on their own."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.cells import difference_cells

ORDERS = (0.5, 1.0, 1.5, 2.0)
WEIGHTS = (0.5, 1.0, 1.5, 2.0)
#: Metric, its name in the tables, factor, decimals.
METRICS = (("accuracy", "accuracy %", 100, 2), ("nll", "NLL", 1, 3), ("ece", "ECE %", 100, 2))

Values = Callable[[str], list[float]]
"""Of a metric, by seed."""


def grid_markdown(results: Mapping[str, Any]) -> str:
    """Four tables: the cells, order at equal weight, weight at equal order, matched pull."""
    return "\n".join(
        [
            *(_cells(results, *metric) for metric in METRICS),
            _effects(results),
            f"n = {len(results['seeds'])} seeds; differences are paired by seed, with 95 % "
            "intervals over seeds only: not other test rows, nor other training rows. 9 "
            "comparisons looked at in accuracy, Holm at 5 %: bold where a difference is shown.",
        ]
    )


def _cells(results: Mapping[str, Any], metric: str, title: str, scale: int, digits: int) -> str:
    def cell(order: float, weight: float) -> str:
        return f"{scale * _mean(_values(results, order, weight, metric)):.{digits}f}"

    alone = scale * _mean(results["arms"]["independent"]["mean_peer"][metric]["values"])
    rows = [
        f"| α = {order:g} | " + " | ".join(cell(order, weight) for weight in WEIGHTS) + " |"
        for order in ORDERS
    ]
    head = f"| mean peer, {title} | " + " | ".join(f"weight {w:g}" for w in WEIGHTS) + " |"
    rule = "| --- |" + " ---: |" * len(WEIGHTS)
    return "\n".join([head, rule, *rows, "", f"Independent: {alone:.{digits}f}.", ""])


def _effects(results: Mapping[str, Any]) -> str:
    by_weight, by_order = partial(_over_weights, results), partial(_over_orders, results)
    cell = partial(_values, results)
    asked: list[tuple[str, Values, Values]] = []
    for a in ORDERS:
        if a != 1:
            name = f"order {a:g} against 1, mean over weights"
            asked.append((name, partial(by_weight, a), partial(by_weight, 1.0)))
    for w in WEIGHTS:
        if w != 1:
            name = f"weight {w:g} against 1, mean over orders"
            asked.append((name, partial(by_order, w), partial(by_order, 1.0)))
    for a in (0.5, 1.5, 2.0):
        name = f"order {a:g} at weight 1 against KL at weight {a:g}"
        asked.append((name, partial(cell, a, 1.0), partial(cell, 1.0, a)))
    columns = [
        difference_cells(
            [(ours(metric), theirs(metric)) for _, ours, theirs in asked],
            scale,
            digits,
            tested=metric == "accuracy",
        )
        for metric, _, scale, digits in METRICS
    ]
    head = "| difference | " + " | ".join(title for _, title, *_ in METRICS) + " |"
    names = [name for name, *_ in asked]
    rows = [f"| {' | '.join(row)} |" for row in zip(names, *columns, strict=True)]
    return "\n".join([head, "| --- |" + " ---: |" * len(METRICS), *rows, ""])


def _values(results: Mapping[str, Any], order: float, weight: float, metric: str) -> list[float]:
    return results["arms"][f"a{order:g}-w{weight:g}"]["mean_peer"][metric]["values"]


def _over_weights(results: Mapping[str, Any], order: float, metric: str) -> list[float]:
    return _by_seed([_values(results, order, weight, metric) for weight in WEIGHTS])


def _over_orders(results: Mapping[str, Any], weight: float, metric: str) -> list[float]:
    return _by_seed([_values(results, order, weight, metric) for order in ORDERS])


def _by_seed(columns: Sequence[list[float]]) -> list[float]:
    return [_mean(values) for values in zip(*columns, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
