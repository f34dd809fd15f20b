"""What a task is: what a cohort is asked to do with one kind of data, and how it is judged."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data import catalogue as data_catalogue
from peerlearn.data.account import EMPTY, Account, counted
from peerlearn.data.datasets import BatchLoader, NamedClasses
from peerlearn.data.fingerprint import (
    Fingerprint,
    data_fingerprint,
    digest_of_text,
    file_fingerprint,
)
from peerlearn.data.info import DataInfo
from peerlearn.data.loaders import split_rows
from peerlearn.data.words import data_facts
from peerlearn.engine.evaluate import Forward, Rows, concluded
from peerlearn.engine.needs import check_needs
from peerlearn.engine.stage import Stage, TrainingStage
from peerlearn.engine.task import (
    BatchSizes,
    Block,
    Evaluator,
    Findings,
    Purpose,
    Trained,
    first_batch,
)
from peerlearn.engine.trainer import Trainer
from peerlearn.engine.weight_files import described
from peerlearn.errors import InputError
from peerlearn.importing import PREFIX, result_of
from peerlearn.metrics.assessment import Assessment, ClassificationAssessment
from peerlearn.models.registry import Models
from peerlearn.randomness import seeded_rng
from peerlearn.reading.class_names import check_same_classes
from peerlearn.reading.reader import Reader
from peerlearn.report.section import Pages
from peerlearn.tasks.assembly import (
    assemble,
    check_twins,
    first_outputs,
    have_posteriors,
    load_data,
    load_initial_weights,
    sizes_of_rows,
)
from peerlearn.tasks.config import RecipeConfig
from peerlearn.tasks.kept_data import DataKeeper
from peerlearn.transfer.outputs import OutputForm, PeerOutput

ConfigT = TypeVar("ConfigT", bound=RecipeConfig)
DataT = TypeVar("DataT")
InfoT = TypeVar("InfoT", bound=DataInfo)


class Task(Evaluator, Generic[ConfigT, DataT, InfoT]):
    """One task with its data.

    An object is made with the data that it trains on. What a finished run needs, its peers and how
    they read other data, is asked of the class.

    Attributes:
        Config: the typed configuration of its recipes.
        Reader: how its finished runs read other data.
        catalogue: data sets that have a name.
        models: networks that can be peers.
        pages: what reports of its runs show beside what all have.
        config: as it was settled for the data.
        data: to train on.
        info: what networks must know of the data to work without them.
        rows: sets of rows to measure on, by name.
    """

    Config: ClassVar[type[RecipeConfig]]
    Reader: ClassVar[type[Reader[Any]]]
    catalogue: ClassVar[data_catalogue.Catalogue[Any]]
    models: ClassVar[Models]
    pages: ClassVar[Pages] = Pages()

    def __init__(self, config: ConfigT, data: DataT) -> None:
        self.data = data
        self.metrics = config.measured
        self.info: InfoT = self.informed(config, data)
        self.config: ConfigT = self.settled(config, self.info)
        self.rows: Mapping[str, Rows] = self.row_sets()

    # Asked of the class -----------------------------------------------------------------------

    @classmethod
    def load(
        cls, config: ConfigT, trained: DataInfo | None = None, kept: DataKeeper | None = None
    ) -> Self:
        """The task with the data that its configuration names.

        `trained` is what a finished run knew of them: labels then count in its classes. `kept` is
        where other tasks of a comparison leave what they have read.

        Raises InputError: data that cannot be used, and then also unknown models and peers; or that
        are of other classes than those of the run.
        """
        found = partial(cls.found, config)
        if kept is not None:
            found = partial(kept.get, cls.data_key(config), found)
        data: Any = load_data(config, found, cls.check_model)
        if trained is None or not isinstance(data, NamedClasses):
            return cls(config, data)
        task = cls(config, cast(DataT, data.in_classes(trained.class_names)))
        check_same_classes(trained, task.info)
        return task

    @classmethod
    def check_model(cls, model: str, field: str) -> None:
        """Raise `InputError` where no network has that name."""
        cls.models.check(model, field)

    @classmethod
    @abstractmethod
    def read(cls, config: ConfigT) -> DataT:
        """The data that a configuration names. Raises InputError: they cannot be used."""

    @classmethod
    def decides_data(cls, config: ConfigT) -> Any:
        """All of a configuration that `read` looks at: where it is equal, so are the data."""
        return config.data

    @classmethod
    def data_key(cls, config: ConfigT) -> object:
        """Equal for configurations that have the same data."""
        return cls, cls.decides_data(config)

    @classmethod
    def found(cls, config: ConfigT) -> DataT:
        """The same, where they may also be what a function of the user's own gives.

        Raises InputError: as `read` and `given`, or the function fails.
        """
        name = getattr(config.data, "name", None)
        if name == data_catalogue.IN_PYTHON:
            raise InputError(
                "data: the run was trained on rows that were given in Python, which it does not "
                "keep; give others with --data"
            )
        if not (isinstance(name, str) and name.startswith(PREFIX)):
            return cls.read(config)
        return cls.given(config, result_of(name, "data.name", "reads data"))

    @classmethod
    def given(cls, config: ConfigT, data: Any) -> DataT:
        """Data at hand in Python, under the choices of `config.data`.

        Raises InputError: nothing that can be read so; says what is.
        """
        raise InputError(
            f"data: found {type(data).__name__}; recipe {config.recipe!r} takes a name or a path"
        )

    @classmethod
    def informed(cls, config: ConfigT, data: DataT) -> InfoT:
        """What networks must know of the data to work without them."""
        kind: Any = cls.Reader.info_type
        return kind.from_dataset(data)

    @classmethod
    def sample(cls, info: Any) -> Any:
        """What a network is told of a row when it is built: here its shape."""
        return info.sample_shape

    @classmethod
    def network(
        cls, info: InfoT, model: str, arguments: Mapping[str, Any], field: str
    ) -> nn.Module:
        """An untrained network for the data.

        Raises InputError: an unknown model or argument; names `field`.
        """
        return cls.models.build(model, cls.sample(info), info.classes, arguments, field)

    @classmethod
    def settled(cls, config: ConfigT, info: InfoT) -> ConfigT:
        """The configuration with what follows from the data."""
        return config

    @classmethod
    def build(cls, config: ConfigT, info: InfoT) -> Cohort:
        """The untrained peers of a settled configuration, keyed by its seed and their names.

        Raises InputError: lists every peer that cannot be built and what is wrong with the edges.
        """

        def peer(name: str) -> nn.Module:
            spec = config.peers[name]
            with seeded_rng(config.seed, "weights", name):
                return cls.network(info, spec.model, spec.arguments, f"peers.{name}.model")

        form: OutputForm = "sigmoid" if info.multilabel else "softmax"
        return assemble(config, peer, config.objective, form)

    @classmethod
    def restore(cls, config: ConfigT, info: InfoT) -> Cohort:
        """The untrained peers of a finished run, which has no data."""
        return cls.build(cls.settled(config, info), info)

    @classmethod
    def around(cls, config: ConfigT, info: InfoT, networks: Mapping[str, nn.Module]) -> Cohort:
        """The cohort of a finished run whose networks were made in Python, and made again.

        Raises InputError: not one network for each peer, or a run that makes them itself.
        """
        raise InputError(
            f"networks: a run of recipe {config.recipe!r} makes its networks itself; leave them out"
        )

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What the data and the files of weights are, to tell later whether they changed."""
        found = data_fingerprint(self.data)
        typed = {f"peers.{name}.weights": it.weights for name, it in self.config.peers.items()}
        typed["weights"] = getattr(self.config, "weights", None)  # of the whole network
        for key, file in typed.items():
            if file is not None and (path := Path(file).expanduser()).is_file():
                found[f"{key}: {file}"] = file_fingerprint(path)
        return found

    @property
    def account(self) -> Account:
        """What was read of the data, and what was left out."""
        account: Account = getattr(self.data, "account", EMPTY)
        return account

    def about(self, peer: str) -> dict[str, Any]:
        """What the header of a peer's file of weights says of its network and its data."""
        spec = self.config.peers.get(peer)  # None of a trunk
        network = {} if spec is None else {"model": spec.model, "arguments": spec.arguments}
        about = {"recipe": self.config.recipe, **network, **described(self.info.model_dump())}
        if size := getattr(self.config.data, "size", None):  # else images are read as they are
            about |= {"size": size, "fit": getattr(self.config.data, "fit", "resize")}
        return about

    @classmethod
    def runs(cls, config: ConfigT, peer: str) -> Sequence[str]:
        """The peers whose layers a peer runs, itself first."""
        return (peer,)

    # What is trained ---------------------------------------------------------------------------

    def cohort(self) -> Cohort:
        """Peers with their initial weights, which fit the data, and edges that are ready.

        Raises InputError: networks, weights or edges that cannot be used, or do not fit each other.
        """
        cohort = self.untrained()
        load_initial_weights(cohort, self.config)
        have_posteriors(cohort, self.config, self.labelled_training_rows())
        x, y, what = self.few()
        outputs = first_outputs(cohort, x, what)
        self.check(cohort, outputs, y)
        with seeded_rng(self.config.seed, "transfer"):
            cohort.transfer.prepare(outputs, cohort.peers)
        return cohort

    def untrained(self) -> Cohort:
        """Peers for the data, before weights are loaded that their configuration names."""
        return self.build(self.config, self.info)

    @abstractmethod
    def few(self) -> tuple[Any, Tensor, str]:
        """A few training rows, their targets, and what they are in words."""

    def check(self, cohort: Cohort, outputs: Mapping[str, PeerOutput], y: Tensor) -> None:
        """See that peers give what the data need, from their outputs for `few`.

        Raises InputError: names the peer, its outputs and what is needed.
        """

    @abstractmethod
    def loader(self) -> BatchLoader:
        """Training batches."""

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        """What the training is divided into: here everybody trains from the first epoch on."""
        return [TrainingStage("mutual", self.config.epochs, self.loader())]

    # What is measured --------------------------------------------------------------------------

    def row_sets(self) -> Mapping[str, Rows]:
        """Sets of rows to measure on, by name: here the splits `val` and `test`."""
        data: Any = self.data
        batch_size = self.config.evaluation.batch_size
        return {part: split_rows(getattr(data, part), data, batch_size) for part in ("val", "test")}

    def measured(self, purpose: Purpose) -> Sequence[str]:
        """The names of the sets of rows that a purpose means."""
        if purpose == "validation":
            return ("val",)
        return ("test",) if self.config.evaluation.report == "test" else ("val", "test")

    @property
    def chooses(self) -> bool:
        return self.validates and not {*self.measured("validation")} & {*self.measured("report")}

    def calibration_rows(self) -> Sequence[Rows]:
        return [self.rows[name] for name in self.measured("validation")] if self.chooses else ()

    def assessment(self, purpose: Purpose) -> Assessment:
        """Begins to measure."""
        return ClassificationAssessment(
            members=self.config.evaluation.members,
            class_names=self.info.class_names,
            own=self.config.evaluation.metrics,
            brief=purpose == "validation",
        )

    def evaluate(self, forward: Forward, purpose: Purpose) -> Block:
        assessment = self.assessment(purpose)
        for name in self.measured(purpose):
            for logits, y in forward(self.rows[name]):
                assessment.add(logits, y)
        return concluded(assessment, with_rows=purpose == "report")

    def row_set(self) -> str:
        """A short text for the rows that are reported on; empty where nobody knows which they are.

        It is the same wherever they and their order are, whatever else of the data differs.
        """
        return self._row_set_of(self.measured("report"))

    def _row_set_of(self, parts: Sequence[str], *further: str) -> str:
        """That of rows that are told by parts of the fingerprint, and other texts."""
        known = [self.fingerprint.get(part) for part in parts]
        return "" if None in known else digest_of_text([list(parts), known, *further])

    def label_counts(self) -> Sequence[int] | None:
        """How many training rows each class has; None where nobody counts."""
        return None

    def labelled_training_rows(self) -> int:
        """How many training rows objectives learn from."""
        counts = self.label_counts()
        return self.info.rows["train"] if counts is None else sum(counts)

    def batch_sizes(self) -> BatchSizes | None:
        return sizes_of_rows(self.config, self.info)

    def validated_rows(self) -> int:
        return sum(self.info.rows.get(name, 0) for name in self.measured("validation"))

    def facts(self) -> Mapping[str, Sequence[str]]:
        return data_facts(self.info, self.account, self.label_counts())

    def rows_words(self, purpose: Purpose) -> str:
        counts, unit = self.info.rows, self.Reader.unit
        return " and ".join(
            f"{name} ({counted(counts[name], unit)})" if name in counts else name
            for name in self.measured(purpose)
        )

    def example(self) -> Any:
        return first_batch(self.rows[self.measured("report")[0]])

    def finish(self, trained: Trained) -> Findings:
        return Findings(self.info)


def trainer_of(task: Task[Any, Any, Any]) -> Trainer:
    """A trainer that is ready to run.

    Raises InputError: as for `Task.cohort`; or peers that begin and stay alike; or a training that
    needs more memory than there is.
    """
    cohort, config = task.cohort(), task.config
    trainer = Trainer(cohort, task.stages(cohort), config, task, config.peers, config.seed)
    check_twins(cohort, trainer.plan)
    check_needs(trainer)
    return trainer
