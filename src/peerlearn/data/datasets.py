"""The shapes in which data travels: split, data set, batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from peerlearn.data.statistics import channel_statistics


@dataclass(frozen=True)
class Split:
    """Rows and their targets.

    Shapes:
        x: (N, C, H, W) images or (N, F) vectors, uint8 or float32.
        y: int64 (N,), `UNLABELLED` where a row has no label; or float32 (N, L) of 0/1 for
            several labels a row, NaN where a row has none.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one row: (C, H, W) or (F,)."""
        return tuple(self.x.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take in memory."""
        return self.x.nbytes

    def rows(self, index: Tensor) -> Tensor:
        """The rows at `index`, in its order."""
        return self.x.index_select(0, index)

    def measured_rows(self) -> Tensor:
        """Positions of the rows that mean and std are measured on: all of them."""
        return torch.arange(len(self))

    def select(self, index: Tensor) -> Self:
        """The split made of the rows at `index`."""
        return replace(self, x=self.x[index], y=self.y[index])

    def with_labels(self, y: Tensor) -> Self:
        """The same rows under other targets."""
        return replace(self, y=y)


@dataclass(frozen=True)
class Dataset:
    """A training, a validation and a test split over one set of classes."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: int
    class_names: tuple[str, ...] = ()
    multilabel: bool = False
    in_memory: bool = True

    def __post_init__(self) -> None:
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(self.classes))))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one row: (C, H, W) or (F,)."""
        return self.train.sample_shape

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel (or feature) of train; uint8 counts as its 255th part."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Population standard deviation of each channel, in the unit of `mean`."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return channel_statistics(self.train.rows, self.train.measured_rows())


class Source(NamedTuple):
    """What a file, a folder or a package held, before rows are held out or left out."""

    train: Split
    val: Split | None
    test: Split | None
    classes: int
    class_names: tuple[str, ...] = ()
    multilabel: bool = False


class Batch(NamedTuple):
    """One training step's worth of data.

    Shapes:
        views: K tensors of the same rows under different augmentation, each float32
            (B, C, H, W) or (B, F); for graph data, a `peerlearn.data.graphs.Graph`.
        y: (B,) or (B, L).
        index: int64 (B,), positions in the training split.
    """

    views: tuple[Any, ...]
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # a row index, not tuple.index

    @property
    def x(self) -> Tensor:
        """The first view."""
        return self.views[0]

    def to(self, device: torch.device | str | None) -> "Batch":
        """The same batch on `device`; None leaves it where it is."""
        if device is None:
            return self
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        return Batch(views, self.y.to(device), self.index.to(device))


class BatchLoader(Protocol):
    """Training batches as a pure function of (seed, epoch, step)."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
