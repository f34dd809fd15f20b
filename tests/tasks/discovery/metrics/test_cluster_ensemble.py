"""Clusters of several networks, matched to each other without any truth."""

import pytest
import torch
from torch import Tensor

from peerlearn.tasks.discovery.metrics.clustering import (
    cluster_orders,
    decided,
    in_order,
    matched_members,
)

KNOWN = 2


def logits(clusters: list[int], new: int = 3, sure: float = 4.0) -> Tensor:
    """One row a number, sure of that cluster."""
    z = torch.zeros(len(clusters), KNOWN + new, dtype=torch.float64)
    z[torch.arange(len(clusters)), KNOWN + torch.tensor(clusters)] = sure
    return z


def test_a_member_that_only_numbers_otherwise_agrees_once_it_is_matched() -> None:
    one, other = logits([0, 0, 1, 2, 2]), logits([2, 2, 0, 1, 1])
    rows = torch.ones(5, dtype=torch.bool)
    matched = matched_members([one, other], KNOWN, rows)
    assert matched[0].equal(one)
    assert matched[1].equal(one)


def test_orders_name_the_column_of_every_cluster_of_the_first_member() -> None:
    first, second = cluster_orders([logits([0, 1, 2]), logits([2, 0, 1])], KNOWN)
    assert first.tolist() == [0, 1, 2]
    assert second.tolist() == [2, 0, 1]
    z = torch.tensor([[9.0, 8.0, 0.0, 1.0, 2.0]])
    assert in_order(z, second, KNOWN).tolist() == [[9.0, 8.0, 2.0, 0.0, 1.0]]


def test_only_the_given_rows_count_in_matching() -> None:
    one, other = logits([0, 1, 2, 0, 0, 0]), logits([0, 1, 2, 1, 1, 1])
    few = torch.tensor([True] * 3 + [False] * 3)
    assert matched_members([one, other], KNOWN, few)[1].equal(other)
    assert not matched_members([one, other], KNOWN, ~few)[1].equal(other)


def test_confidence_is_the_mean_probability_among_the_classes_asked_about() -> None:
    a, b = logits([0], sure=3.0), logits([0], sure=0.0)
    a[:, 0] = 50.0  # a known class, which is not asked about
    found = decided([a, b], slice(KNOWN, None))
    certain = torch.tensor(3.0).exp() / (torch.tensor(3.0).exp() + 2)
    assert found.number.tolist() == [0]
    assert found.confidence.item() == pytest.approx((certain.item() + 1 / 3) / 2)
    assert decided([a, b], slice(None)).number.tolist() == [0], "counted from the first column"
    assert decided([a], slice(None)).confidence.item() == pytest.approx(1.0)


def test_a_row_of_nan_is_of_no_cluster() -> None:
    z = logits([1, 2])
    z[0, KNOWN] = torch.nan
    found = decided([z, logits([1, 2])], slice(KNOWN, None))
    assert found.number.tolist() == [-1, 2]
    assert found.confidence.isnan().tolist() == [True, False]
