"""The shapes in which data travels: split, data set, batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.objectives.labels import UNLABELLED, labelled_mask, labelled_rows

S = TypeVar("S", bound="Split")
VALUES_PER_CHUNK = 2_000_000
LARGE = 64 * 1024**2
"""Bytes from which rows are not copied where some of them are selected."""


@dataclass(frozen=True)
class Split:
    """Rows and their targets.

    Shapes:
        x: (N, C, H, W) images or (N, F) vectors, uint8 or float32; or (N, L) ids, int64.
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

    @property
    def as_it_is(self) -> bool:
        """Whether networks get the rows unchanged, neither scaled nor normalised: ids of tokens."""
        return not self.x.is_floating_point() and self.x.dtype != torch.uint8

    @property
    def drawn_anew(self) -> bool:
        """Whether reading a row again may give another one; see `drawn`."""
        return False

    @property
    def strata(self) -> Tensor:
        """What a choice of rows is balanced over, int64 (N,); see `strata`."""
        return strata(self.y)

    def rows(self, index: Tensor) -> Tensor:
        """The rows at `index`, in its order."""
        return self.x.index_select(0, index)

    def drawn(self, index: Tensor, seed: int, *key: str | int) -> Any:
        """The same; what is random in them is a function of `seed` and `key`."""
        return self.rows(index)

    def targets(self, index: Tensor) -> Tensor:
        """What is learnt from the rows at `index`."""
        return self.y[index]

    def paths(self) -> Sequence[Path]:
        """The files that rows are read from when they are asked for; none where they are here."""
        return ()

    def measured_rows(self) -> Tensor:
        """Positions of the rows that mean and std are measured on: all of them."""
        return torch.arange(len(self))

    def to(self, device: torch.device | str) -> "Split":
        """The same rows on `device`, where their batches are made then."""
        return Split(self.x.to(device), self.y.to(device))

    def select(self, index: Tensor) -> Self:
        """The split made of the rows at `index`."""
        if self.x.nbytes >= LARGE:  # other kinds of splits select in their own way
            placed: Any = PlacedSplit(self.x, index, self.y[index])
            return placed
        return replace(self, x=self.x[index], y=self.y[index])

    def with_labels(self, y: Tensor) -> Self:
        """The same rows under other targets."""
        return replace(self, y=y)

    def labelled_only(self, index: Tensor) -> Self:
        """The same rows, with a label at `index` alone."""
        hidden = torch.full_like(self.y, self._blank)
        hidden[index] = self.y[index]
        return self.with_labels(hidden)

    def decoded(self) -> "Split":
        """The same split with its rows in memory, where they are here."""
        return self

    @property
    def _blank(self) -> float:
        return torch.nan if self.y.is_floating_point() else UNLABELLED


class PlacedSplit(Split):
    """Some rows of a tensor that stays as it is: parts of large data share one."""

    def __init__(self, whole: Tensor, places: Tensor, y: Tensor) -> None:
        # The parent is frozen; its `x` is gathered here, so only these are stored.
        for name, value in (("whole", whole), ("places", places), ("y", y)):
            object.__setattr__(self, name, value)

    whole: Tensor
    places: Tensor

    @property
    def x(self) -> Tensor:
        """All rows, copied anew at every access; `rows` gives some."""
        return self.whole[self.places]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.whole.shape[1:])

    @property
    def nbytes(self) -> int:
        return len(self) * self.whole[:1].nbytes

    @property
    def as_it_is(self) -> bool:
        return Split(self.whole, self.y).as_it_is

    def rows(self, index: Tensor) -> Tensor:
        return self.whole.index_select(0, self.places[index])

    def select(self, index: Tensor) -> Self:
        return type(self)(self.whole, self.places[index], self.y[index])

    def with_labels(self, y: Tensor) -> Self:
        return type(self)(self.whole, self.places, y)


def strata(y: Tensor) -> Tensor:
    """int64 (N,): the class of each row, `UNLABELLED` where it has none.

    Rows with several labels each form one stratum, 0.
    """
    return y if y.ndim == 1 else labelled_rows(y).long() - 1


def renumbered(labels: Tensor, places: Sequence[int]) -> Tensor:
    """The place of every label; `UNLABELLED`, which is −1, finds itself at the end."""
    return torch.tensor([*places, UNLABELLED])[labels]


class NamedClasses:
    """Classes that have their numbers for names where none are given; for frozen data classes.

    `named` says whether somebody gave the names.
    """

    classes: int
    class_names: tuple[str, ...]
    named: bool | None

    def __post_init__(self) -> None:
        if self.named is None:
            object.__setattr__(self, "named", bool(self.class_names))
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(self.classes))))

    def in_classes(self, names: Sequence[str]) -> Self:
        """The same data with labels that count in `names`; as they are where one is not there."""
        own = self.class_names
        if own == tuple(names) or not set(own) <= set(names):
            return self
        known: Any = {"classes": len(names), "class_names": tuple(names)}
        moved: Any = self._relabelled([names.index(name) for name in own])
        renamed: Self = replace(moved, **known)
        return renamed

    def _relabelled(self, places: Sequence[int]) -> Self:
        """The same with `places[c]` in place of class c, where a row has one label."""
        return self


class MeasuredOnTrain:
    """What data are like, by the rows that are learnt from."""

    name: str
    train: Split

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one row: (C, H, W) or (F,)."""
        return self.train.sample_shape

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel (or feature) of train; uint8 counts as its 255th part.

        Empty where networks get rows as they are.
        """
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Population standard deviation of each channel, in the unit of `mean`."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.train.as_it_is:
            return (), ()
        return channel_statistics(self.train.rows, self.train.measured_rows())


@dataclass(frozen=True)
class Dataset(NamedClasses, MeasuredOnTrain):
    """A training, a validation and a test split over one set of classes."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: int
    class_names: tuple[str, ...] = ()
    multilabel: bool = False
    in_memory: bool = True
    account: Account = EMPTY
    named: bool | None = None

    def _relabelled(self, places: Sequence[int]) -> Self:
        if self.train.y.ndim != 1:
            return self
        parts = {part: getattr(self, part) for part in ("train", "val", "test")}
        moved = {part: s.with_labels(renumbered(s.y, places)) for part, s in parts.items()}
        return replace(self, **moved)

    def decoded(self) -> Self:
        """The same data with all rows in memory."""
        parts = (self.train, self.val, self.test)
        train, val, test = (part.decoded() for part in parts)
        return replace(self, train=train, val=val, test=test)


class Source(NamedTuple, Generic[S]):
    """What a file, a folder or a package held, before rows are held out or left out."""

    train: S
    val: S | None
    test: S | None
    classes: int
    class_names: tuple[str, ...] = ()
    multilabel: bool = False
    account: Account = EMPTY

    def said(self) -> dict[str, Any]:
        """What holds for all rows together, by the names that `Dataset` gives it."""
        return {name: getattr(self, name) for name in self._fields[3:]}


@dataclass(frozen=True)
class Batch:
    """One training step's worth of data.

    Shapes:
        views: K tensors of the same rows under different augmentation, each float32
            (B, C, H, W) or (B, F); for graph data, a `peerlearn.tasks.graphs.data.Graph`.
        y: (B,) or (B, L); for masks, (B, H, W) or (B, L, H, W).
        index: int64 (B,), positions in the training split.
        versions: int64 (K, B), the number of what each row of each view shows, where that is one
            of finitely many fixed versions of rows; None where views are drawn anew.
        labelled: bool, which rows (or pixels) of y have a label, found when the batch is made;
            None where y holds no labels.
    """

    views: tuple[Any, ...]
    y: Tensor
    index: Tensor
    versions: Tensor | None = None
    labelled: Tensor | None = None

    def __post_init__(self) -> None:
        if self.labelled is None:
            object.__setattr__(self, "labelled", labelled_mask(self.y))

    @property
    def x(self) -> Tensor:
        """The first view."""
        return self.views[0]

    def to(self, device: torch.device | str | None) -> "Batch":
        """The same batch on `device`; None leaves it where it is."""
        if device is None:
            return self
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        versions, labelled = (
            None if each is None else each.to(device) for each in (self.versions, self.labelled)
        )
        return Batch(views, self.y.to(device), self.index.to(device), versions, labelled)


class BatchLoader(Protocol):
    """Training batches as a pure function of (seed, epoch, step)."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""


def channel_statistics(
    rows: Callable[[Tensor], Tensor], index: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, population standard deviation), C floats each, over every axis but the second.

    `rows` gives the rows at an index, (n, C, ...); of these at least one is measured. uint8 values
    are divided by 255 first.
    """
    first = _channels(rows(index[:1]))
    # Sums are taken around the first row's mean: plain squares would cancel catastrophically
    # where the mean is large beside the deviation.
    shift_C1 = first.mean(1, keepdim=True)
    total_C = torch.zeros(len(first), dtype=torch.float64)
    square_C = torch.zeros(len(first), dtype=torch.float64)
    values = 0
    for chunk in index.split(max(1, VALUES_PER_CHUNK // first.numel())):
        centred_CV = _channels(rows(chunk)).sub_(shift_C1)
        total_C += centred_CV.sum(1)
        values += centred_CV.shape[1]
        square_C += centred_CV.square_().sum(1)
    offset_C = total_C / values
    std_C = (square_C / values - offset_C.square()).clamp(min=0).sqrt()
    return tuple((shift_C1[:, 0] + offset_C).tolist()), tuple(std_C.tolist())


def _channels(x: Tensor) -> Tensor:
    """(n, C, ...) as a copy in float64 (C, values), uint8 scaled to [0, 1]."""
    flat_CV = x.transpose(0, 1).flatten(1).to(torch.float64, copy=True)
    return flat_CV.div_(255) if x.dtype == torch.uint8 else flat_CV
