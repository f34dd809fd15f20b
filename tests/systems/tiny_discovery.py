"""The smallest files and settings that exercise the whole of a discovery."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TINY = [
    *("stages.rotation.epochs=1", "stages.supervised.epochs=1", "epochs=1", "batch_size=32"),
    *("transfer.memory=64", "threads=1", "precision=fp32"),
]


def images(known: bool, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits below 5, or the others, and what they are."""
    digits = load_digits()
    chosen = np.flatnonzero((digits.target < 5) == known)[:rows]
    return (16 * digits.images[chosen]).clip(0, 255).astype(np.uint8), digits.target[chosen]


def write_pools(folder: Path, rows: int = 100, truth: bool = False) -> tuple[Path, Path]:
    """`labelled.npz` and `unlabelled.npz`; the latter with labels where truth is wanted."""
    x, y = images(True, rows)
    np.savez(folder / "labelled.npz", x_train=x, y_train=y)
    x, y = images(False, rows)
    np.savez(folder / "unlabelled.npz", **({"x": x, "y": y} if truth else {"x": x}))
    return folder / "labelled.npz", folder / "unlabelled.npz"
