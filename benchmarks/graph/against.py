"""A mutual epoch against the same networks one after the other in torch-geometric."""

from typing import Any

from benchmarks.graph.cohorts import epoch_of, parameters, training
from benchmarks.graph.peers import Peers, gcns, mixed
from benchmarks.speed.timing import Opened, Work, interleave, row, summary
from peerlearn.tasks.graphs.data.datasets import NodeDataset

OURS, ALONE = "peerlearn, mutual", "peerlearn, independent"
THEIRS = "torch-geometric"
CACHED, ADJACENCY = f"{THEIRS}, cached", f"{THEIRS}, cached, sparse adjacency"
EPOCHS = 5

Lines = list[dict[str, Any]]


def gcn_lines(data: NodeDataset, rounds: int) -> Lines:
    """Four GCNs, of the size of the recipes and of that in torch-geometric's example."""
    target = (">=", 5.0)
    lines = [
        line
        for hidden in (64, 16)
        for line in _epoch(f"four GCNs, hidden {hidden}", gcns(4, hidden), data, rounds, target)
    ]
    lines += _epoch("four GCNs, no dropout on features", gcns(4, 64, 0.0), data, rounds)
    return lines + _with_evaluation("four GCNs", gcns(4), data, rounds)


def mixed_lines(data: NodeDataset, rounds: int) -> Lines:
    """One GCN, one GAT and one GraphSAGE."""
    name = "GCN + GAT + SAGE"
    lines = _epoch(name, mixed(), data, rounds, (">=", 4.0))
    return lines + _with_evaluation(name, mixed(), data, rounds)


def _epoch(
    name: str,
    peers: Peers,
    data: NodeDataset,
    rounds: int,
    target: tuple[str, float] | None = None,
) -> Lines:
    """One epoch of training and nothing else."""
    try:
        from benchmarks.graph import geometric
    except ImportError as error:
        return [_skipped(name, error)]
    _check_sizes(geometric.parameters(peers, data), parameters(peers, data))
    works: dict[str, Work | Opened] = {
        OURS: epoch_of(peers, data),
        ALONE: epoch_of(peers, data, "none"),
        THEIRS: geometric.epoch_of(peers, data),
        CACHED: geometric.epoch_of(peers, data, cached=True),
        ADJACENCY: geometric.epoch_of(peers, data, cached=True, adjacency=True),
    }
    samples = interleave(works, rounds)
    lines = [
        row(f"{name}, as documented", samples, THEIRS, OURS, target),
        row(f"{name}, cached=True", samples, CACHED, OURS, target),
        row(f"{name}, cached, on a sparse adjacency", samples, ADJACENCY, OURS),
        row(f"{name}, as documented, both independent", samples, THEIRS, ALONE),
    ]
    lines[0]["works"] = summary(samples)
    return lines


def _with_evaluation(name: str, peers: Peers, data: NodeDataset, rounds: int) -> Lines:
    """Trainings as a user runs them: each epoch is followed by an evaluation."""
    name = f"{name}, {EPOCHS} epochs with evaluation"
    try:
        from benchmarks.graph import geometric
    except ImportError as error:
        return [_skipped(name, error)]
    works = {
        "Trainer.run": training(peers, data, EPOCHS),
        CACHED: geometric.epoch_of(peers, data, cached=True, test=True, epochs=EPOCHS),
    }
    samples = interleave(works, rounds)
    return [row(name, samples, CACHED, "Trainer.run") | {"works": summary(samples)}]


def _skipped(name: str, error: ImportError) -> dict[str, Any]:
    return {"name": name, "skipped": f"{error}; pip install torch-geometric"}


def _check_sizes(theirs: int, ours: int) -> None:
    if theirs != ours:
        raise RuntimeError(f"networks differ: {theirs} weights there, {ours} here")
