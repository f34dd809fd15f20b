"""The shape in which data of category discovery travels, and what trained networks keep of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydantic import Field
from torch import Tensor

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.datasets import MeasuredOnTrain, Split
from peerlearn.data.info import RowInfo, measured
from peerlearn.objectives.labels import labelled_rows


@dataclass(frozen=True)
class DiscoveryDataset(MeasuredOnTrain):
    """Labelled rows of known classes beside unlabelled rows, mostly of new ones.

    Classes are numbered known ones first, 0 … known − 1, then new ones. Truth of unlabelled rows
    measures; it is in no training batch.

    Attributes:
        name: of the data set.
        train: all training rows; `y` is `UNLABELLED` where a row is unlabelled.
        truth: int64 (N,), true class of every training row, −1 where nobody knows it.
        test: rows that no training sees, with their true classes; may be empty.
        known: number of known classes.
        novel: number of new classes among the unlabelled rows; None unless the truth of every
            row is known.
        class_names: of the known classes, then of the new ones that the truth names.
        named: whether these are names, or numbers made up.
    """

    name: str
    train: Split
    truth: Tensor
    test: Split
    known: int
    novel: int | None
    class_names: tuple[str, ...]
    account: Account = EMPTY
    named: bool | None = None

    @cached_property
    def labelled(self) -> Tensor:
        """Positions of the labelled rows of train, ascending."""
        return labelled_rows(self.train.y).nonzero()[:, 0]

    @cached_property
    def unlabelled(self) -> Tensor:
        """Positions of the unlabelled rows of train, ascending."""
        return (~labelled_rows(self.train.y)).nonzero()[:, 0]

    @property
    def generalised(self) -> bool:
        """Whether unlabelled rows are known to hold known classes as well."""
        truth = self.truth[self.unlabelled]
        return bool(((truth >= 0) & (truth < self.known)).any())


class DiscoveryInfo(RowInfo):
    """The shape, the classes and the normalisation of rows with known and new classes.

    `classes` counts known classes and clusters, `class_names` names the clusters "new 1", "new 2",
    … for want of better names, and `rows` counts labelled, unlabelled and test rows.

    Attributes:
        known: number of known classes, the first of `class_names`.
        generalised: whether unlabelled rows may be of known classes too, so that known and new
            classes compete.
        orders: of every trained peer, which of its new classes is "new 1", "new 2", …; empty before
            there are any.
    """

    known: int
    generalised: bool = False
    orders: dict[str, tuple[int, ...]] = Field({})

    @classmethod
    def from_discovery(cls, data: DiscoveryDataset, novel: int, overlap: bool = False) -> Self:
        """What a run keeps of `data` for untrained networks that tell `novel` classes apart."""
        clusters = tuple(f"new {number}" for number in range(1, novel + 1))
        return cls(
            **measured(data),
            classes=data.known + novel,
            class_names=data.class_names[: data.known] + clusters,
            named=data.named,
            known=data.known,
            generalised=overlap or data.generalised,
            rows={part: len(getattr(data, part)) for part in ("labelled", "unlabelled", "test")},
        )

    @property
    def content(self) -> str:
        new = self.classes - self.known
        return f"{super().content}, {self.known} known and {new} new classes"
