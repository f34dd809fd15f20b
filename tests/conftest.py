"""Settings and fixtures of the whole test run."""

import os
from pathlib import Path

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
