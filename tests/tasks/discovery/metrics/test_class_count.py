import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from peerlearn.errors import InputError
from peerlearn.tasks.discovery.metrics.class_count import (
    KnownRows,
    estimate_classes,
    mixture_bic,
    pinned_kmeans,
    principal_components,
    probe_accuracy,
    silhouette,
)


def blobs(classes, rows=30, features=8, spread=1.0, seed=0):
    """Gaussian clusters around random centres, about four spreads apart, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(classes, features, generator=generator)
    y = torch.arange(classes * rows) % classes
    return centres[y] + spread * torch.randn(len(y), features, generator=generator), y


@pytest.mark.parametrize("new", [2, 3, 6])
def test_the_number_of_clear_clusters_is_found(new):
    x, y = blobs(4 + new, rows=60, seed=new)
    known = y < 4
    estimate = estimate_classes(x[~known], x[known], y[known], range(2, 9))
    assert estimate.count == new
    assert [score.count for score in estimate.scores] == list(range(2, 9))
    assert estimate.scores[new - 2].probe_accuracy > 0.95


def test_without_labelled_rows_nothing_plays_a_new_class():
    x, _ = blobs(3, rows=60)
    estimate = estimate_classes(x, None, None, [2, 3, 5])
    assert estimate.count == 3
    assert all(score.probe_accuracy is None for score in estimate.scores)


def test_long_clusters_side_by_side_are_counted_though_halves_are_further_apart():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    x = torch.randn(600, 3, generator=generator) * torch.tensor([3.0, 1.0, 1.0])
    x[:, 1] += 6 * y
    estimate = estimate_classes(x, None, None, range(2, 7))
    assert estimate.count == 3
    assert max(estimate.scores, key=lambda score: score.silhouette).count != 3


def test_the_bic_is_that_of_its_definition():
    x, _ = blobs(1, rows=50, features=3)
    points = principal_components(x.double().numpy())
    assert points.std() == pytest.approx(1)
    covariance = np.cov(points.T, bias=True) + 1e-3 * np.eye(3)
    fit = multivariate_normal(points.mean(0), covariance).logpdf(points).sum()
    parameters = 3 + 6  # of one mean and one covariance
    expected = (parameters * np.log(50) - 2 * fit) / 50
    assert mixture_bic(points, 1) == pytest.approx(expected, rel=1e-6)
    assert mixture_bic(1e3 * points, 1) > mixture_bic(points, 1), "coordinates are not scaled here"


def test_many_features_are_reduced_to_their_leading_components():
    x, _ = blobs(4, rows=60, features=40)
    assert principal_components(x.double().numpy()).shape == (240, 10)
    assert estimate_classes(x, None, None, range(2, 8)).count == 4


def test_ties_go_to_the_smaller_number_and_repeats_count_once():
    with pytest.warns(Warning, match="distinct clusters"):
        estimate = estimate_classes(torch.ones(30, 4), None, None, [5, 3, 3, 2])
    assert [score.count for score in estimate.scores] == [2, 3, 5]
    assert {score.bic for score in estimate.scores} == {0.0}
    assert estimate.count == 2


def test_estimates_are_keyed_by_their_seed_and_leave_global_generators_alone():
    x, y = blobs(7, spread=3.0)
    known = y < 4

    def scores(seed):
        return estimate_classes(x[~known], x[known], y[known], [2, 3, 4], seed=seed).scores

    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert scores(0) == scores(0)
    assert scores(0) != scores(1)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])


def test_the_names_of_the_known_classes_do_not_matter():
    x, y = blobs(7)
    known = y < 4
    renamed = 10 * y[known] + 7
    first = estimate_classes(x[~known], x[known], y[known], [3])
    assert first == estimate_classes(x[~known], x[known], renamed, [3])


def test_pinned_rows_keep_their_cluster_wherever_they_are():
    x, y = blobs(3)
    x, y = x.double().numpy(), y.numpy()
    order = y.argsort(kind="stable")
    x, y = x[order], y[order]
    x[0] = x[-1]  # a row of class 0 in the middle of class 2
    assigned = pinned_kmeans(x, y[:30], 3, seed=0)
    assert (assigned[:30] == 0).all()
    assert len(set(assigned[30:60])) == len(set(assigned[60:])) == 1
    assert set(assigned[30:60]) | set(assigned[60:]) == {1, 2}


def test_pinned_kmeans_is_at_a_fixed_point():
    """Every free row is in the cluster whose mean is nearest."""
    x, _ = blobs(5, spread=3.0)
    x = x.double().numpy()
    assigned = pinned_kmeans(x, np.array([0, 1, 0, 1]), 6, seed=3)
    means = np.stack([x[assigned == k].mean(0) for k in range(6)])
    nearest = ((x[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (assigned[4:] == nearest[4:]).all()


def test_half_of_the_known_classes_are_anchors_and_come_first():
    x, y = blobs(5)
    known = KnownRows.of(x.numpy(), y.numpy(), seed=0)
    assert (known.anchors, known.probes, known.pinned) == (2, 3, 60)
    assert known.y.tolist() == sorted(known.y.tolist())
    originals = {tuple(row): label for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    for label in range(5):
        rows = known.points[known.y == label].tolist()
        assert len({originals[tuple(row)] for row in rows}) == 1
    divisions = {tuple(KnownRows.of(x.numpy(), y.numpy(), seed).points[0]) for seed in range(8)}
    assert len(divisions) > 1


def test_probe_accuracy_falls_where_clusters_are_missing():
    x, y = blobs(10)
    x, y = x.double().numpy(), y.numpy()
    known = KnownRows.of(x[y < 4], y[y < 4], seed=0)
    assert probe_accuracy(x[y >= 4], known, 6) == 1
    assert probe_accuracy(x[y >= 4], known, 2) < 1


def test_equal_rows_have_the_worst_silhouette_and_do_not_fail():
    with pytest.warns(Warning, match="distinct clusters"):
        assert silhouette(np.zeros((10, 2)), 3) == -1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": []}, "at least one number"),
        ({"candidates": [1, 2]}, "from 2"),
        ({"candidates": [2, 60]}, "to 59"),
        ({"y": None}, "together"),
        ({"labelled": None}, "together"),
        ({"y": torch.zeros(3)}, "shape"),
        ({"y": torch.arange(60) % 3}, "3 known classes; at least 4"),
        ({"labelled": torch.zeros(60, 3)}, "3 features a row, but unlabelled has 8"),
        ({"unlabelled": torch.zeros(60)}, "unlabelled: shape"),
        ({"unlabelled": torch.full((60, 8), torch.nan)}, "NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(changes, message):
    x, y = blobs(4, rows=15)
    given = {"unlabelled": x, "labelled": x, "y": y, "candidates": [2, 3], **changes}
    with pytest.raises(InputError, match=message):
        estimate_classes(**given)
