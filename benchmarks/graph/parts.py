"""What the parts of a mutual epoch cost or save, each against the same epoch without it."""

from dataclasses import replace
from typing import Any

from cohorts import engine, epoch_of
from measuring import interleave, row, summary
from peers import MUTUAL, Peers, gcns, mixed

from peerlearn.data.graphs import Graph, NodeDataset

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
    validated = engine(peers, data)

    def with_validation() -> None:
        validated.epoch()
        validated.validate()

    works = {
        EPOCH: epoch_of(peers, data, MUTUAL),
        ALONE: epoch_of(peers, data, "none"),
        WEIGHTED: epoch_of(peers, data, ADAPTIVE),
        EVALUATED: with_validation,
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
