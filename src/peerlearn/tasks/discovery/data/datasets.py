"""The shape in which data of category discovery travels."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from peerlearn.data.datasets import MeasuredOnTrain, Split
from peerlearn.objectives.labels import labelled_rows


@dataclass(frozen=True)
class DiscoveryDataset(MeasuredOnTrain):
    """Labelled rows of known classes beside unlabelled rows, mostly of new ones.

    Classes are numbered known ones first, 0 … known − 1, then new ones. Truth of unlabelled rows
    measures; it is in no training batch.

    Attributes:
        name: of the data set.
        train: all training rows; `y` is `UNLABELLED` where a row is unlabelled.
        truth: true class of every training row, −1 where nobody knows it.
        test: rows that no training sees, with their true classes; may be empty.
        known: number of known classes.
        novel: number of new classes among the unlabelled rows; None unless the truth of every
            row is known.
        class_names: of the known classes, then of the new ones that the truth names.

    Shapes:
        truth: int64 (N,), N the length of `train`.
    """

    name: str
    train: Split
    truth: Tensor
    test: Split
    known: int
    novel: int | None
    class_names: tuple[str, ...]

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
