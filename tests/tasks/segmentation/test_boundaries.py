"""Hausdorff distances between the boundaries of two segmentations."""

import math

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from peerlearn.tasks.segmentation.pixels import Boundaries, hausdorff95


def blobs(images=3, height=24, width=31, classes=4, seed=0):
    """Label maps of connected regions, some pixels of no class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, classes, (images, 4, 4))
    return labels.repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)[:, :height, :width]


def distance(a, b, classes):
    return hausdorff95(Boundaries(a, classes), Boundaries(b, classes))


def brute_force(a, b):
    """Of two masks, by all pairs of boundary pixels."""
    if not a.any() and not b.any():
        return math.nan
    if not a.any() or not b.any():
        return math.hypot(*a.shape)
    a, b = (np.argwhere(mask & ~binary_erosion(mask)) for mask in (a, b))
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return max(np.percentile(gaps.min(1), 95), np.percentile(gaps.min(0), 95))


@pytest.mark.parametrize("shift", [0, 1, 3, -9])
def test_it_is_brute_force_over_erosion_boundaries(shift):
    a, classes = blobs(), 5  # nothing is of the last class
    b = np.roll(a, shift, 2) if shift >= 0 else blobs(seed=1)
    expected = [
        [brute_force(x == c, y == c) for c in range(classes)] for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(distance(a, b, classes), expected)


def test_it_agrees_with_monai():
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    a, b = blobs(classes=3).clip(0), blobs(classes=3, seed=1).clip(0)
    onehot = [torch.from_numpy(np.stack([x == c for c in range(3)], 1)).float() for x in (a, b)]
    expected = monai.compute_hausdorff_distance(*onehot, include_background=True, percentile=95)
    found, expected = distance(a, b, 3), expected.numpy()
    both = np.array([[(a[n] == c).any() and (b[n] == c).any() for c in range(3)] for n in range(3)])
    assert both.sum() >= 6
    np.testing.assert_allclose(found[both], expected[both], rtol=1e-5)


def test_equal_maps_are_at_distance_0_and_classes_that_neither_has_are_not_counted():
    a = blobs()
    found = distance(a, a, 5)
    assert np.isnan(found[:, 4]).all()
    assert (found[:, :4][~np.isnan(found[:, :4])] == 0).all()


def test_a_moved_square_is_as_far_as_it_was_moved():
    a = np.full((1, 40, 50), -1)
    b = a.copy()
    a[0, 10:20, 10:20] = 0
    b[0, 10:20, 14:24] = 0
    assert distance(a, b, 1).item() == 4


def test_a_class_that_one_lacks_is_as_far_as_the_diagonal():
    a = np.zeros((1, 30, 40), dtype=np.int64)
    a[0, :2, :2] = 1
    b = np.zeros_like(a)
    assert distance(a, b, 2)[0, 1] == distance(b, a, 2)[0, 1] == 50
    assert distance(np.full_like(a, -1), b, 2)[0, 0] == 50


def test_a_few_far_pixels_are_forgiven():
    a = np.full((1, 60, 60), -1)
    a[0, 20:40, 20:40] = 0
    b = a.copy()
    b[0, 0, 0] = 0  # one of 77
    assert distance(a, b, 1).item() == 0


def test_it_is_symmetric_and_each_image_stands_alone():
    a, b = blobs(), blobs(seed=1)
    np.testing.assert_array_equal(distance(a, b, 4), distance(b, a, 4))
    alone = [distance(a[n : n + 1], b[n : n + 1], 4)[0] for n in range(len(a))]
    np.testing.assert_array_equal(distance(a, b, 4), alone)
    assert distance(a[:0], b[:0], 4).shape == (0, 4)
    assert np.isnan(distance(np.full_like(a, -1), np.full_like(a, -1), 4)).all()
