"""The half of a task that training sees: what to measure, and what to find out at the end."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from peerlearn.cohort import Cohort
from peerlearn.data.augment import Normalisation
from peerlearn.data.info import DataInfo
from peerlearn.engine.evaluate import Forward, Rows, assessed
from peerlearn.engine.precision import Precision
from peerlearn.engine.public_rows import PublicRows
from peerlearn.errors import InputError
from peerlearn.metrics.assessment import Assessment, ClassificationAssessment
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue

#: validation: to watch and to select weights by; report: what is told of the finished cohort.
Purpose = Literal["validation", "report"]
#: Nested plain numbers: `peers`, `mean_peer`, `ensemble`, …; see `assess_classification`. Of a
#: report also what its rows scored, as `concluded` puts it.
Block = dict[str, Any]


class Trained(NamedTuple):
    """A cohort whose training is over."""

    cohort: Cohort  # the peers with their selected weights, on the device of `precision`
    precision: Precision  # of the run
    forward: Forward  # runs the peers over rows
    history: Sequence[Mapping[str, Any]]  # the records of all epochs


class BatchSizes(NamedTuple):
    """How large batches are, roughly: rows at once, and the bytes of each."""

    training: int  # rows of a batch to learn from
    evaluation: int  # rows of one to measure on
    inputs: float  # bytes of a row as a network reads it
    targets: float  # of its labels
    outputs: float  # of the logits of one peer


@dataclass(frozen=True)
class Findings:
    """What a task finds out about a trained cohort beside its metrics on rows.

    Attributes:
        info: what the networks must know of their data to be used without them; None where nobody
            will ask.
        metrics: by peer, what needs more than logits; they join the peer's other metrics.
        further: entries of the arm's block of their own.
        pictures: arrays to be looked at.
    """

    info: DataInfo | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Evaluator(ABC):
    """Owns the rows that a cohort is measured on, and knows how.

    Attributes:
        metrics: what it measures.
        validates: whether there is something to select weights by.
        least_steps: of the optimiser in a stage; with fewer, training has hardly begun.
        unprovable: why its validation is nothing by which edges could be `proven`; else empty.
    """

    metrics: Catalogue = Catalogue(CLASSIFICATION)
    validates: bool = True
    least_steps: int = 100
    unprovable: str = ""

    @property
    def chooses(self) -> bool:
        """Whether a peer can be chosen by validation, whose rows are none of those reported on."""
        return self.validates

    @abstractmethod
    def evaluate(self, forward: Forward, purpose: Purpose) -> Block:
        """Metrics of every peer, their mean and their ensemble; a validation may measure less.

        `forward` gives the outputs of all peers, wherever they live and whatever they run on.
        """

    def evaluate_reported(self, forward: Forward) -> Block:
        """The report on the rows that are reported on, without what is measured beside them."""
        return self.evaluate(forward, "report")

    @abstractmethod
    def example(self) -> Any:
        """What peers read in one batch, by which they are sized; None where there are no rows."""

    def calibration_rows(self) -> Sequence[Rows]:
        """Rows to fit temperatures on, one class or several labels each; empty if there are none.

        They are none of those that are reported on.
        """
        return ()

    def batch_sizes(self) -> BatchSizes | None:
        """How large batches are; None where that is not known."""
        return None

    def facts(self) -> Mapping[str, Sequence[str]]:
        """What is told of its data before a training: lines by a word; see `data_facts`."""
        return {}

    def rows_words(self, purpose: Purpose) -> str:
        """The rows that a purpose means, in words."""
        return "validation rows" if purpose == "validation" else "test rows"

    def probe(self) -> Rows | None:
        """Training rows for the flatness probe; None where there is nothing to probe."""
        return None

    def validated_rows(self) -> int:
        """How many rows networks read in a validation; 0 where nobody counts."""
        return 0

    def public_rows(self, named: str) -> PublicRows:
        """The rows of `transport.public`, on which peers meet that are in different hands.

        Raises InputError: they cannot be used, or peers read something else than rows.
        """
        raise InputError(
            f"transport.public: found {named!r}, but it is for images and vectors that are "
            "classified; leave transport.publish out"
        )

    def normalisation(self) -> Normalisation:
        """How images in [0, 1] became what peers read.

        Raises InputError: they read no images, or these are not classified.
        """
        raise InputError(
            "evaluation.corruption: is for images that are classified, and from files or arrays; "
            "leave it out"
        )

    def finish(self, trained: Trained) -> Findings:
        """What else is found out once training is over."""
        return Findings()


@dataclass
class RowEvaluator(Evaluator):
    """Measures rows at hand, without a task around them."""

    report: Rows | None = None  # rows to report on; None reports nothing
    validation: Rows | None = None  # rows that select weights; None where nothing is selected
    assess: Callable[[], Assessment] = ClassificationAssessment  # begins to measure
    probed: Rows | None = None  # rows of the flatness probe
    told: Mapping[str, Sequence[str]] = field(default_factory=dict)  # facts of the data

    def __post_init__(self) -> None:
        self.validates = self.validation is not None

    def evaluate(self, forward: Forward, purpose: Purpose) -> Block:
        rows = self.report if purpose == "report" else self.validation
        if rows is None:
            return {}
        return assessed(forward(rows), self.assess(), with_rows=purpose == "report")

    def calibration_rows(self) -> Sequence[Rows]:
        return () if self.validation is None else (self.validation,)

    def facts(self) -> Mapping[str, Sequence[str]]:
        return self.told

    def example(self) -> Any:
        return first_batch(self.report or self.validation)

    def probe(self) -> Rows | None:
        return self.probed


def first_batch(rows: Rows | None) -> Any:
    """What peers read in the first batch of rows; None where there is none."""
    x, _ = next(iter(rows()), (None, None)) if rows is not None else (None, None)
    return x
