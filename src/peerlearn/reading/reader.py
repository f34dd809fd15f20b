"""How a finished run reads data that it was not trained on."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TextIO, TypeVar

import torch
from torch import Tensor, nn

from peerlearn.data.account import EMPTY, Account
from peerlearn.data.info import DataInfo
from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.metrics.assessment import Assessment, ClassificationAssessment
from peerlearn.metrics.classification import ensemble_log_probs, ensemble_multilabel_logits
from peerlearn.metrics.uncertainty import Uncertainty, spoken, uncertainty
from peerlearn.reading.class_names import Names, matched_classes
from peerlearn.reading.predictions import Inputs, Prediction, write_labels

InfoT = TypeVar("InfoT", bound=DataInfo)


class UnreadableError(InputError):
    """Rows that a network turns out not to read; says which, not where they are from."""


class Reader(ABC, Generic[InfoT]):
    """Reads one kind of data as the networks of a run do.

    Args:
        info: of the data that the networks were trained on.
        config: of the run.

    Attributes:
        info_type: the class of `info`.
        options: further arguments of a reader by name, and for which runs they are, in words.
        unit: what is predicted, in the singular.
        steps: what the networks read, in the plural.
        folder: where predictions are files, how to call a folder of them; None for a table.
        account: of what was read so far.
        failed: inputs that could not be predicted, as typed, each with the reason.
    """

    info_type: ClassVar[type[DataInfo]]
    options: ClassVar[Mapping[str, str]] = {}
    unit: ClassVar[str] = "row"
    steps: ClassVar[str] = "rows"
    folder: ClassVar[str | None] = None

    def __init__(self, info: InfoT, config: Any) -> None:
        self.info = info
        self.config = config
        self.account = EMPTY
        self.failed: dict[str, str] = {}

    @abstractmethod
    def test_rows(self, name: str) -> Rows:
        """The test split of other data, classes matched by name where both sides have names.

        `name` is a name or a path as `data.name` takes.

        Raises InputError: data that cannot be read, do not fit the networks, or have classes that
        these do not know.
        """

    @abstractmethod
    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> Iterable[Inputs]:
        """What there is to predict by `peers` in files and folders as typed, in order.

        A sequence where all of it is known, and looked at, before the first batch is read. Images
        that cannot be read are kept in `failed`, and do not stop the others.

        Raises InputError: names the file, what was found in it and what is expected; or no input
            can be read.
        """

    def given(self, x: Any, peers: Mapping[str, nn.Module]) -> Iterable[Inputs]:
        """The same of rows at hand: arrays or tensors.

        Raises InputError: what was found and what is expected.
        """
        raise InputError(f"predict: found {type(x).__name__}; give paths of files")

    def preprocess(self) -> nn.Module:
        """What makes of raw rows what networks read.

        Raises InputError: no module does, for what they read are no plain rows.
        """
        raise InputError(
            f"a run that reads {self.info.content}: they are encoded from arrays, and no module "
            "does that; predict takes them as they are"
        )

    def assessment(self) -> Assessment:
        """Begin to measure networks on such data, as the run does."""
        return ClassificationAssessment(
            members=self.config.evaluation.members,
            class_names=self.info.class_names,
            own=self.config.evaluation.metrics,
        )

    def aligned(self, logits: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Logits (N, C, ...) by peer whose classes mean the same: here they always do."""
        return logits

    def together(self, logits: Mapping[str, Tensor]) -> Tensor:
        """What several peers say of some rows: here the mean of their probabilities.

        Shapes:
            logits: by peer (N, C, ...); result: the same, float64.
        """
        outputs = [z.double() for z in self.aligned(logits).values()]
        if self.info.multilabel:
            return ensemble_multilabel_logits(outputs).sigmoid()
        return ensemble_log_probs([torch.log_softmax(z, 1) for z in outputs]).exp()

    def unsure(self, logits: Mapping[str, Tensor]) -> Uncertainty | None:
        """How unsure one peer, or several together, are of some rows; None of pixels.

        Shapes:
            logits: by peer (N, C), with those of `samples` where peers are stochastic.
        """
        if any(z.ndim != 2 for z in logits.values()):
            return None
        samples = {
            name: torch.stack([self.aligned({name: z_NC})[name] for z_NC in each])
            for name, each in getattr(logits, "samples", {}).items()
        }
        several = self.info.multilabel
        said = [spoken(z, samples.get(n), several) for n, z in self.aligned(logits).items()]
        return uncertainty(said, several)

    def ready(self, peers: Mapping[str, nn.Module]) -> Mapping[str, nn.Module]:
        """Peers that say clearly what is wrong where they cannot read other data."""
        return peers

    def write(
        self,
        made: Iterable[Prediction],
        out: Path | TextIO,
        probabilities: bool = False,
        overlay: bool = False,
        uncertainty: bool = False,
    ) -> int:
        """Write predictions, and say of how many rows: here their labels; see `write_labels`.

        Args:
            made: what was predicted.
            out: a file or an open stream; a folder where `folder` says so.
            probabilities: write those of all classes too.
            overlay: show them over what was read, where that are images.
            uncertainty: write how unsure the networks are of every row.

        Raises RunError: a file cannot be written; the old one stays.
        """
        return write_labels(made, self.info, out, probabilities, self.failed, uncertainty)

    def places(self, own: DataInfo, name: str) -> torch.Tensor:
        """(C,): which class of the run every class of other data, typed as `name`, is.

        By name; by number, and then the account says so, where one side has no names.

        Raises InputError: there are classes that the run does not know.
        """
        return self.matched(Names.of(self.info), Names.of(own), name, self.info.multilabel)

    def matched(
        self, trained: Names, own: Names, name: str, all_of_them: bool = False
    ) -> torch.Tensor:
        """See `matched_classes`, whose note goes into the account."""
        places, note = matched_classes(trained, own, f"--data {name}", all_of_them)
        if note:
            self.account += Account(notes=(note,))
        return torch.tensor(places)
