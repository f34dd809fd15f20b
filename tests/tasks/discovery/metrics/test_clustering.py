"""Clusters against classes, and pairs of rows against the truth."""

from itertools import permutations

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.discovery.metrics.clustering import (
    align,
    ari,
    cluster_accuracy,
    nmi,
    pair_metrics,
    right_rows,
    shared_rows,
)


def drawn(clusters, classes, rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(clusters, (rows,), generator=generator),
        torch.randint(classes, (rows,), generator=generator),
    )


def by_brute_force(found, truth, clusters, classes):
    """The best over every way to give each cluster a class of its own, or none."""
    size = max(clusters, classes)
    return max(
        sum(way[c] == t for c, t in zip(found.tolist(), truth.tolist(), strict=True)) / len(found)
        for way in permutations(range(size))
    )


@pytest.mark.parametrize("clusters, classes", [(4, 4), (5, 3), (3, 5), (1, 4), (4, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_cluster_accuracy_is_that_of_brute_force(clusters, classes, seed):
    found, truth = drawn(clusters, classes, seed=seed)
    expected = by_brute_force(found, truth, clusters, classes)
    assert cluster_accuracy(found, truth) == pytest.approx(expected)


def test_numbers_of_clusters_and_classes_mean_nothing():
    found, truth = drawn(4, 4)
    renamed, moved = torch.tensor([9, 2, 7, 0])[found], truth + 5
    for metric in (cluster_accuracy, nmi, ari):
        assert metric(renamed, moved) == pytest.approx(metric(found, truth))
    assert cluster_accuracy(renamed, torch.tensor([3, 1, 8, 2])[found]) == 1
    assert nmi(renamed, found) == ari(renamed, found) == 1


def test_alignment_gives_each_class_once_and_none_to_the_rest():
    found = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    truth = torch.tensor([6, 6, 6, 5, 6, 6, 5, 6])
    classes = align(found, truth)
    assert classes[[0, 2]].tolist() == [6, 5]
    right = right_rows(found, truth, classes)
    assert right.tolist() == [True, True, True, False, False, False, True, False]
    assert cluster_accuracy(found, truth) == 0.5


def test_clusters_beyond_the_classes_have_none():
    classes = align(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 0, 0, 0]))
    assert classes.tolist() == [-1, -1, 0]


def test_rows_in_no_cluster_are_wrong():
    found, truth = torch.tensor([0, -1, 1, -1]), torch.tensor([1, 1, 0, 0])
    assert cluster_accuracy(found, truth) == 0.5
    assert cluster_accuracy(torch.full((4,), -1), truth) == 0


def test_rows_without_truth_are_never_right():
    found, truth = torch.tensor([0, 1, 1]), torch.tensor([-1, -1, 2])
    assert cluster_accuracy(found, truth) == pytest.approx(1 / 3)


def test_chance_has_no_adjusted_rand_index():
    found, truth = drawn(5, 5, rows=5000)
    assert abs(ari(found, truth)) < 0.01
    assert nmi(found, truth) < 0.01


def test_shared_rows_can_have_a_given_shape():
    table = shared_rows(torch.tensor([0, 0, -1]), torch.tensor([1, 1, 0]), 3, 2)
    assert table.tolist() == [[0, 2], [0, 0], [0, 0]]


def test_pairs_of_different_rows_are_judged():
    truth = torch.tensor([0, 0, 0, 1])
    same = torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = same[2, 3] = same[3, 2] = True
    # 12 pairs: said of one class 4, of one class 6, both 2.
    expected = {"accuracy": 6 / 12, "precision": 2 / 4, "recall": 2 / 6}
    assert pair_metrics(same, truth) == pytest.approx(expected)


def test_pairs_that_nobody_finds_have_precision_0():
    nothing = pair_metrics(torch.eye(3, dtype=torch.bool), torch.tensor([0, 1, 2]))
    assert nothing == {"accuracy": 1.0, "precision": 0.0, "recall": 0.0}


@pytest.mark.parametrize(
    "metric, arguments",
    [
        (align, (torch.zeros(3), torch.zeros(3, dtype=torch.int64))),
        (nmi, (torch.tensor([0, 1]), torch.tensor([0]))),
        (ari, (torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64))),
        (pair_metrics, (torch.ones(2, 2), torch.tensor([0]))),
    ],
)
def test_what_does_not_fit_is_an_error(metric, arguments):
    with pytest.raises(InputError, match="metrics: "):
        metric(*arguments)
