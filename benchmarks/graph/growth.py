"""How the cost of an epoch grows with the edges of the graph and with the peers of the cohort."""

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from cohorts import epoch_of
from graphs import CLASSES, FEATURES, NODES, random_dataset
from measuring import Sample, Work, interleave
from peers import MUTUAL, gcns

EDGES = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)
PEERS = (1, 2, 4, 6, 8)
PEERS_ALONG_EDGES, EDGES_ALONG_PEERS = 4, 250_000
LEAST_R2, WORST = 0.98, 0.1
"""What counts as a line: its R², and how far a single point may be off."""


def growth(rounds: int) -> dict[str, Any]:
    """Epochs over the edges of the graph, and over peers, mutual and independent."""
    along_edges = {
        edges: epoch_of(gcns(PEERS_ALONG_EDGES), random_dataset(edges)) for edges in EDGES
    }
    graph = random_dataset(EDGES_ALONG_PEERS)
    alone = {count: epoch_of(gcns(count), graph, "none") for count in PEERS}
    # A single peer has nobody to learn from: its epoch is another kind.
    mutual = {count: epoch_of(gcns(count), graph, MUTUAL) for count in PEERS if count > 1}
    return {
        "graph": f"random, {NODES:,} nodes, {FEATURES} features, {CLASSES} classes",
        "curves": [
            _curve("edges", f"{PEERS_ALONG_EDGES} mutual peers", along_edges, rounds),
            _curve("peers", f"mutual, {EDGES_ALONG_PEERS:,} edges", mutual, rounds),
            _curve("peers", f"independent, {EDGES_ALONG_PEERS:,} edges", alone, rounds),
        ],
    }


def _curve(over: str, what: str, works: Mapping[int, Work], rounds: int) -> dict[str, Any]:
    samples = interleave({str(size): work for size, work in works.items()}, rounds)
    points = [{"size": size} | _point(samples[str(size)]) for size in works]
    line = _line(list(works), [p["cpu_s"] for p in points])
    return {
        "over": over,
        "what": what,
        "points": points,
        "line": line,
        "target": f"R² >= {LEAST_R2}, points within {WORST:.0%}",
        "met": line["r2"] >= LEAST_R2 and line["worst"] <= WORST,
    }


def _point(taken: list[Sample]) -> dict[str, float]:
    """Medians and quartiles. Processor time makes the curve: neighbours add nothing to it."""
    cpu = sorted(sample.cpu for sample in taken)
    q25, _, q75 = statistics.quantiles(cpu, n=4, method="inclusive")
    return {
        "cpu_s": statistics.median(cpu),
        "cpu_q25": q25,
        "cpu_q75": q75,
        "wall_s": statistics.median(sample.wall for sample in taken),
    }


def _line(sizes: list[int], seconds: list[float]) -> dict[str, float]:
    """Least squares; `worst` is the largest distance of a point from the line, over the point."""
    x, y = np.array(sizes, float), np.array(seconds)
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - (intercept + slope * x)
    return {
        "slope_s": float(slope),
        "intercept_s": float(intercept),
        "r2": float(1 - (residuals**2).sum() / ((y - y.mean()) ** 2).sum()),
        "worst": float((abs(residuals) / y).max()),
    }
