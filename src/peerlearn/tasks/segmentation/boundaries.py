"""How far apart are the boundaries of two segmentations? Hausdorff distances in pixels.

Shapes: N images, C classes, P boundary pixels of all of them.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import KDTree

PERCENTILE = 0.95


class Boundaries:
    """The boundary pixels of every class in every image.

    A pixel is on the boundary of its class where one of its four neighbours is of another class, or
    outside the image.

    Args:
        labels: class of every pixel; below 0 where it belongs to none.
        classes: C, more than any label.

    Shapes:
        labels: (N, height, width), int.
    """

    def __init__(self, labels: NDArray[Any], classes: int) -> None:
        images, height, width = labels.shape
        self.diagonal = float(np.hypot(height, width))
        self.far = float(height + width)
        self.shape = (images, classes)
        image, row, column = (_on_boundary(labels) & (labels >= 0)).nonzero()
        #: (P,) a class in an image has the number image · C + class.
        self.region = image * classes + labels[image, row, column]
        #: (N, height, width) the region of every boundary pixel, −1 elsewhere.
        self.regions: NDArray[np.int64] = np.full(labels.shape, -1)
        self.regions[image, row, column] = self.region
        #: (N · C,) boundary pixels of each region.
        self.counts = np.bincount(self.region, minlength=images * classes)
        self.pixel = (image, row, column)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """(P, 3) boundary pixels, with regions so far apart that the nearest is of one's own."""
        _, row, column = self.pixel
        return np.stack([self.region * self.far, row, column], 1)

    @cached_property
    def tree(self) -> "KDTree":
        """Finds the nearest boundary pixel; built once, however many ask."""
        from scipy.spatial import KDTree

        return KDTree(self.points, balanced_tree=False, compact_nodes=False)

    def distances_to(self, other: "Boundaries") -> NDArray[np.float64]:
        """(P,) from each boundary pixel to the nearest of the other's; 0 where that has none."""
        apart = (other.regions[self.pixel] != self.region) & (other.counts[self.region] > 0)
        distances = np.zeros(len(self.region))
        if apart.any():
            distances[apart] = other.tree.query(self.points[apart])[0]
        return distances


def hausdorff95(a: Boundaries, b: Boundaries) -> NDArray[np.float64]:
    """The 95 % Hausdorff distance between two segmentations of the same images, in pixels.

    The larger of two percentiles: of the distances from a's boundary to b's, and back (interpolated
    linearly, as MONAI does). A class that only one of them has is as far as can be, the diagonal of
    the image; a class that neither has is NaN. Huttenlocher, Klanderman, Rucklidge, "Comparing
    images using the Hausdorff distance", TPAMI 1993.

    Shapes:
        result: (N, C).
    """
    there, back = (
        _percentiles(one.distances_to(other), one.region, one.counts)
        for one, other in ((a, b), (b, a))
    )
    only_one = (a.counts > 0) ^ (b.counts > 0)
    distances = np.where(only_one, a.diagonal, np.maximum(there, back))
    distances[(a.counts == 0) & (b.counts == 0)] = np.nan
    return distances.reshape(a.shape)


def _on_boundary(labels: NDArray[Any]) -> NDArray[np.bool_]:
    boundary = np.zeros(labels.shape, dtype=bool)
    for axis in (1, 2):
        along, lines = np.moveaxis(boundary, axis, 0), np.moveaxis(labels, axis, 0)
        changes = lines[1:] != lines[:-1]
        along[1:] |= changes
        along[:-1] |= changes
        along[[0, -1]] = True
    return boundary


def _percentiles(
    values: NDArray[np.float64], group: NDArray[Any], counts: NDArray[Any]
) -> NDArray[np.float64]:
    """The percentile of the values of each group, 0 for a group without any."""
    ordered = np.append(values[np.lexsort((values, group))], 0.0)
    place = PERCENTILE * np.maximum(counts - 1, 0)
    low = np.cumsum(counts) - counts + place.astype(int)
    share = place % 1
    return np.where(
        counts > 0,
        (1 - share) * ordered[low] + share * ordered[np.minimum(low + 1, len(values))],
        0.0,
    )
