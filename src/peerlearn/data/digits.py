"""The default data set: 1,797 handwritten digits of 8x8 pixels, shipped with scikit-learn."""

import numpy as np
import torch

from peerlearn.data.datasets import Source, Split
from peerlearn.data.splits import hold_out

TEST_ROWS = 360
VAL_ROWS = 180
FULL_INK = 16


def read_digits() -> Source:
    """Digits as uint8 (N, 1, 8, 8) with a fixed stratified split of 1,257 / 180 / 360 rows.

    The source counts ink in steps 0 to 16; they are spread over 0 to 255, so that scaled rows
    fill [0, 1]. The split is the same for every seed: results stay comparable.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = np.rint(pixels * (255 / FULL_INK)).astype(np.uint8).reshape(-1, 1, 8, 8)
    everything = Split(torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64)))
    rest, test = hold_out(everything, TEST_ROWS, 0, "test")
    train, val = hold_out(rest, VAL_ROWS, 0, "val")
    return Source(train, val, test, classes=10)
