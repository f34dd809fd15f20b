"""A colour for every class, far apart for neighbours."""

import numpy as np
from numpy.typing import NDArray


def palette() -> NDArray[np.uint8]:
    """256 distinct colours (256, 3), the first black.

    Those of the PASCAL VOC segmentations, which most viewers of masks know: the bits of a class,
    lowest first, are dealt to red, green and blue in turn, and fill each of them from its highest
    bit down.
    """
    classes = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((classes >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours
