"""How the cost of an epoch grows with the edges of the graph and with the peers of the cohort."""

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.graph.cohorts import epoch_of
from benchmarks.graph.graphs import CLASSES, FEATURES, NODES, random_dataset
from benchmarks.graph.peers import MUTUAL, gcns
from benchmarks.speed.timing import Opened, Sample, interleave

PEERS_ALONG_EDGES = 4
LEAST_R2, WORST = 0.98, 0.1
"""What counts as a line: its R², and how far a single point may be off."""


class Size(NamedTuple):
    """How far costs are followed; along peers the graph has the fewest edges."""

    nodes: int
    edges: tuple[int, ...]
    peers: tuple[int, ...]


FULL = Size(NODES, (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000), (1, 2, 4, 6, 8))
SMALLEST = Size(100, (400, 800), (1, 2, 3))


def growth(rounds: int, size: Size) -> dict[str, Any]:
    """Epochs over the edges of the graph, and over peers, mutual and independent."""
    along_edges = {
        edges: epoch_of(gcns(PEERS_ALONG_EDGES), random_dataset(edges, size.nodes))
        for edges in size.edges
    }
    fewest = min(size.edges)
    graph = random_dataset(fewest, size.nodes)
    alone = {count: epoch_of(gcns(count), graph, "none") for count in size.peers}
    # A single peer has nobody to learn from: its epoch is another kind.
    mutual = {count: epoch_of(gcns(count), graph, MUTUAL) for count in size.peers if count > 1}
    return {
        "graph": f"random, {size.nodes:,} nodes, {FEATURES} features, {CLASSES} classes",
        "curves": [
            _curve("edges", f"{PEERS_ALONG_EDGES} mutual peers", along_edges, rounds),
            _curve("peers", f"mutual, {fewest:,} edges", mutual, rounds),
            _curve("peers", f"independent, {fewest:,} edges", alone, rounds),
        ],
    }


def _curve(over: str, what: str, works: Mapping[int, Opened], rounds: int) -> dict[str, Any]:
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
    q25, q75 = map(float, np.quantile(cpu, (0.25, 0.75)))
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
