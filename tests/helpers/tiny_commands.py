"""The smallest commands and data that exercise the whole of a run."""

from typing import NamedTuple

import numpy as np

#: A run of well under a second.
TINY = [
    "peers.a={model: mlp, arguments: {hidden: [16]}}",
    "peers.b={model: mlp, arguments: {hidden: [16]}}",
    "data.train_size=100",
    "epochs=2",
    "threads=1",
]


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


def small_arrays(classes: int = 3, rows: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """Grey images of 8x8 whose brightness tells the class, as arrays of an `.npz`."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for part in ("train", "val", "test"):
        y = np.arange(rows) % classes
        shade = (y * 200 // classes)[:, None, None]
        arrays[f"x_{part}"] = (shade + draw.integers(0, 55, (rows, 8, 8))).astype(np.uint8)
        arrays[f"y_{part}"] = y
    return arrays
