"""Images in memory, and the same augmentation one sample at a time in a torch DataLoader."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed.timing import interleave, row, summary
from benchmarks.speed.work import CLASSES, SHAPE
from peerlearn.data.datasets import Split
from peerlearn.data.loaders import ArrayLoader
from peerlearn.data.spec import AugmentSpec

CROP = 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
OURS, LOADER = "ArrayLoader", "DataLoader, {} workers"
TARGET = (">=", 5.0)


def images(count: int) -> tuple[Split, str]:
    """`count` images of CIFAR-10 where `PEERLEARN_DATA` has them, else noise of the same shape."""
    root = os.environ.get("PEERLEARN_DATA")
    found = sorted(Path(root).rglob("cifar10.npz")) if root else []
    if found:
        with np.load(found[0]) as arrays:
            x, y = arrays["x_train"][:count], arrays["y_train"][:count]
        pixels = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
        return Split(pixels, torch.from_numpy(y).long()), "CIFAR-10"
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    return Split(pixels, torch.randint(CLASSES, (count,), generator=generator)), "noise"


def array_loader(split: Split, batch: int) -> ArrayLoader:
    """peerlearn's data path."""
    return ArrayLoader(split, batch, 0, AugmentSpec(crop=CROP, flip=True), MEAN, STD)


class PerSample(Dataset[tuple[Tensor, Tensor]]):
    """Crop out of a reflected border, mirror, normalise: one image at a time, in few calls."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.scale = (1 / (255 * torch.tensor(STD))).view(3, 1, 1)
        self.shift = (-torch.tensor(MEAN) / torch.tensor(STD)).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        side = SHAPE[1]
        padded = F.pad(self.split.x[index].float(), (CROP,) * 4, mode="reflect")
        top, left, mirror = (torch.rand(3) * torch.tensor([9.0, 9.0, 2.0])).long().tolist()
        image = padded[:, top : top + side, left : left + side]
        if mirror:
            image = image.flip(2)
        return (image * self.scale).add_(self.shift), self.split.y[index]


def per_sample_loader(
    split: Split, batch: int, workers: int = 0, processors: Iterable[int] = ()
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A torch DataLoader over `PerSample`; its workers may use all of `processors`."""
    free = set(processors)

    def unpin(_: int) -> None:
        if free:
            os.sched_setaffinity(0, free)

    # DataLoader counts the processors of this pinned process and warns that workers are too many.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    return DataLoader(
        PerSample(split),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=unpin,
    )


def data_path(rounds: int, processors: list[int], batch: int) -> list[dict[str, Any]]:
    """Time of an epoch of batches with no training in it."""
    split, _ = images(20 * batch)
    ours = array_loader(split, batch)
    works: dict[str, Any] = {OURS: lambda: _exhaust(ours.epoch(0))}
    for workers in (0, 2):
        loader = per_sample_loader(split, batch, workers, processors)
        works[LOADER.format(workers)] = lambda loader=loader: _exhaust(loader)
    samples = interleave(works, rounds)
    lines = [
        row(f"data path, {name}", samples, name, OURS, TARGET, cpu=name == LOADER.format(0))
        for name in works
        if name != OURS
    ]
    lines[0]["works"] = summary(samples)
    return lines


def _exhaust(batches: Iterable[object]) -> None:
    for _ in batches:
        pass
