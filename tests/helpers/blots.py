"""Images of coloured blots that a small network learns in seconds, for attacks and defences."""

from pathlib import Path

import numpy as np

CLASSES = 5


def blots(path: Path, rows: int = 1200, side: int = 12, seed: int = 0) -> Path:
    """An `.npz` of train and test rows: a soft pattern of each class, under noise."""
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(60, 196, (CLASSES, side // 3, side // 3, 3))
    patterns = coarse.repeat(3, 1).repeat(3, 2)
    arrays = {}
    for part, count in (("train", rows), ("test", 300)):
        y = np.arange(count) % CLASSES
        noise = draw.normal(0, 45, (count, side, side, 3))
        arrays[f"x_{part}"] = np.clip(patterns[y] + noise, 0, 255).astype(np.uint8)
        arrays[f"y_{part}"] = y.astype(np.int64)
    np.savez(path, **arrays)
    return path
