"""Homophily by the labels that may be read, and the line that warns where it is low."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_graphs import NODES, graph_trainer, node_arrays, write

from peerlearn.tasks.graphs.data.datasets import NodeDataset
from peerlearn.tasks.graphs.data.graph import Graph
from peerlearn.tasks.graphs.data.homophily import homophily


def ring(y: list[int], train: int, val: int) -> NodeDataset:
    """Each node sends to the next; the first `train` and the next `val` have a label to read."""
    nodes = torch.arange(len(y))
    graph = Graph(torch.eye(len(y)), torch.stack([nodes, nodes.roll(-1)]))
    parts = nodes[:train], nodes[train : train + val], nodes[train + val :]
    return NodeDataset("ring", graph, torch.tensor(y), *parts, classes=max(y) + 1)


def test_it_is_the_share_of_edges_between_equal_classes() -> None:
    found = homophily(ring([0] * 30 + [1] * 30, 30, 30))
    assert found is not None and not found.low
    assert (found.edges, found.share) == (60, pytest.approx(58 / 60))
    assert found.adjusted == pytest.approx((58 / 60 - 0.5) / 0.5)


def test_classes_in_turn_are_below_chance() -> None:
    found = homophily(ring([0, 1] * 30, 30, 30))
    assert found is not None and found.low
    assert (found.share, found.adjusted) == (0, pytest.approx(-1))


def test_one_class_that_most_nodes_have_is_no_homophily() -> None:
    """Most edges join equal classes by chance alone."""
    y = [int(node % 10 == 0) for node in range(100)]
    found = homophily(ring(y, 50, 50))
    assert found is not None and found.low
    assert found.share == pytest.approx(0.8)
    assert found.adjusted < 0


def test_labels_of_test_are_never_read() -> None:
    y = [0, 1] * 30
    other = y[:40] + [0] * 20
    assert homophily(ring(y, 20, 20)) == homophily(ring(other, 20, 20))
    assert homophily(ring(y, 10, 5)) is None  # too few edges to tell


@pytest.mark.parametrize(("near", "lines"), [(True, 1), (False, 2)])
def test_a_run_says_so_before_it_begins(tmp_path: Path, near: bool, lines: int) -> None:
    arrays = node_arrays()
    if not near:  # every node sends to those of the next class alone
        senders, _ = arrays["edge_index"]
        arrays["edge_index"] = np.stack([senders, (senders + 1) % NODES])
    arrays["split"] = np.where(np.arange(NODES) < 40, np.arange(NODES) % 2, 2)
    trainer = graph_trainer("gml-node", write(tmp_path / "mine.npz", arrays))
    told = trainer.task.facts()["graph"]
    assert len(told) == lines
    assert told[0].startswith("edge homophily ")
    assert ("transfer.proven" in told[-1]) is (not near)
