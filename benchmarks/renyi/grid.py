"""The order × weight grid as tables: every cell, and what order and weight do on their own."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cells import difference_cell

ORDERS = (0.5, 1.0, 1.5, 2.0)
WEIGHTS = (0.5, 1.0, 1.5, 2.0)
#: Metric, its name in the tables, factor, decimals.
METRICS = (("accuracy", "accuracy %", 100, 2), ("nll", "NLL", 1, 3), ("ece", "ECE %", 100, 2))


def grid_markdown(results: Mapping[str, Any]) -> str:
    """Four tables: the cells, order at equal weight, weight at equal order, matched pull."""
    return "\n".join(
        [
            *(_cells(results, *metric) for metric in METRICS),
            _effects(results),
            f"n = {len(results['seeds'])} seeds; differences are paired by seed, with 95 % "
            "Student t intervals.",
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
    rows = []
    for order in ORDERS:
        if order != 1:
            ours = [_over_weights(results, order, metric) for metric, *_ in METRICS]
            base = [_over_weights(results, 1.0, metric) for metric, *_ in METRICS]
            rows.append(_row(f"order {order:g} against 1, mean over weights", ours, base))
    for weight in WEIGHTS:
        if weight != 1:
            ours = [_over_orders(results, weight, metric) for metric, *_ in METRICS]
            base = [_over_orders(results, 1.0, metric) for metric, *_ in METRICS]
            rows.append(_row(f"weight {weight:g} against 1, mean over orders", ours, base))
    for pull in (0.5, 1.5, 2.0):
        ours = [_values(results, pull, 1.0, metric) for metric, *_ in METRICS]
        base = [_values(results, 1.0, pull, metric) for metric, *_ in METRICS]
        rows.append(_row(f"order {pull:g} at weight 1 against KL at weight {pull:g}", ours, base))
    head = "| difference | " + " | ".join(title for _, title, *_ in METRICS) + " |"
    return "\n".join([head, "| --- |" + " ---: |" * len(METRICS), *rows, ""])


def _row(name: str, ours: Sequence[list[float]], base: Sequence[list[float]]) -> str:
    cells = [
        difference_cell(a, b, scale, digits)
        for (_, _, scale, digits), a, b in zip(METRICS, ours, base, strict=True)
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


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
