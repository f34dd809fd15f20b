"""Settings and fixtures of the whole test run."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # tiny networks run faster, and tests side by side do not compete


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data, or a skip that says what is missing."""
    root = os.environ.get("PEERLEARN_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("needs real data: set PEERLEARN_DATA to its folder")
    return Path(root)


@pytest.fixture
def own_images(tmp_path) -> Path:
    """`labelled.npz` of digits below 5 and `unlabelled.npz` of others, and the same with `y`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (16 * digits.images).clip(0, 255).astype(np.uint8)
    low, high = (np.flatnonzero((digits.target < 5) == known)[:100] for known in (True, False))
    np.savez(tmp_path / "labelled.npz", x_train=x[low], y_train=digits.target[low])
    np.savez(tmp_path / "unlabelled.npz", x=x[high])
    np.savez(tmp_path / "told.npz", x=x[high], y=digits.target[high])
    return tmp_path
