"""What the parts of a mutual epoch cost or save, each against the same epoch without it."""

from dataclasses import replace
from typing import Any

from benchmarks.graph.cohorts import epoch_and_validation, epoch_of
from benchmarks.graph.peers import MUTUAL, Peers, gcns, mixed
from benchmarks.speed.timing import interleave, row, summary
from peerlearn.tasks.graphs.data import Graph
from peerlearn.tasks.graphs.data.datasets import NodeDataset

ADAPTIVE = {"divergence": "kl", "weighting": "class"}
EPOCH, ALONE = "mutual epoch", "independent"
WEIGHTED, EVALUATED = "with adaptive weighting", "with validation"
DENSE = "dense features"


def part_lines(data: NodeDataset, rounds: int) -> list[dict[str, Any]]:
    """For four GCNs, and for one GCN, one GAT and one GraphSAGE."""
    cohorts: dict[str, Peers] = {"four GCNs": gcns(4), "GCN + GAT + SAGE": mixed()}
    return [line for name, peers in cohorts.items() for line in _parts(name, peers, data, rounds)]


def _parts(name: str, peers: Peers, data: NodeDataset, rounds: int) -> list[dict[str, Any]]:
    dense = replace(data, graph=Graph(data.graph.x.to_dense(), data.graph.edge_index))
    works = {
        EPOCH: epoch_of(peers, data, MUTUAL),
        ALONE: epoch_of(peers, data, "none"),
        WEIGHTED: epoch_of(peers, data, ADAPTIVE),
        EVALUATED: epoch_and_validation(peers, data),
        DENSE: epoch_of(peers, dense, MUTUAL),
    }
    samples = interleave(works, rounds)
    lines = [
        row(f"{name}: transfer edges", samples, EPOCH, ALONE),
        row(f"{name}: adaptive weighting", samples, WEIGHTED, EPOCH),
        row(f"{name}: validation", samples, EVALUATED, EPOCH),
        row(f"{name}: dense features", samples, DENSE, EPOCH),
    ]
    lines[0]["works"] = summary(samples)
    return lines
