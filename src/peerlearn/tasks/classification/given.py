"""Networks that were made in Python and rows that may have been: what `peerlearn.fit` trains."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from peerlearn.cohort import Cohort
from peerlearn.data.datasets import Dataset
from peerlearn.data.info import RowInfo
from peerlearn.data.spec import AugmentSpec
from peerlearn.engine.stage import Stage, TrainingStage
from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.randomness import seeded_rng
from peerlearn.tasks.assembly import first_outputs
from peerlearn.tasks.classification.config import ClassificationConfig
from peerlearn.tasks.classification.task import ClassificationTask
from peerlearn.tasks.config import RecipeConfig
from peerlearn.transfer.graph import TransferGraph
from peerlearn.transfer.outputs import OutputForm

GIVEN = "given:"
"""Before what a configuration calls a network that was made in Python."""


class GivenConfig(ClassificationConfig):
    """What `peerlearn.fit` was told. Networks and objectives are described, not made."""

    augment: AugmentSpec = Field(AugmentSpec(), description="random changes of images")  # type: ignore[assignment]
    objective: Any = Field("Classification", description="what peers learn, in a word")


class GivenTask(ClassificationTask):
    """Train a cohort that is there already.

    Attributes:
        made: the cohort; None where a run is only read.
    """

    Config: ClassVar[type[RecipeConfig]] = GivenConfig
    config: GivenConfig

    def __init__(self, config: Any, data: Dataset, made: Cohort | None = None) -> None:
        super().__init__(config, data)
        self.made = made

    @classmethod
    def check_model(cls, model: str, field: str) -> None:
        """What a network was called says nothing."""

    @classmethod
    def build(cls, config: Any, info: RowInfo) -> Cohort:
        kinds = dict.fromkeys(peer.model.removeprefix(GIVEN) for peer in config.peers.values())
        again = ", ".join(f'"{name}": …' for name in config.peers)
        raise InputError(
            f"peers {', '.join(config.peers)}: networks that were made in Python "
            f"({', '.join(kinds)}), of which the run keeps the weights alone. Make them again in "
            f'Python: peerlearn.load("FOLDER", networks={{{again}}}).predict(rows)'
        )

    @classmethod
    def around(cls, config: Any, info: RowInfo, networks: Mapping[str, nn.Module]) -> Cohort:
        if set(networks) != set(config.peers):
            raise InputError(
                f"networks: given for {', '.join(networks) or 'none'}; the peers of the run are "
                f"{', '.join(config.peers)}"
            )
        form: OutputForm = "sigmoid" if info.multilabel else "softmax"
        ordered = {name: networks[name] for name in config.peers}
        return Cohort(ordered, TransferGraph(config.transfer, list(ordered), form))

    def cohort(self) -> Cohort:
        if self.made is None:
            return super().cohort()
        form, several = self.made.transfer.form, self.info.multilabel
        if (form == "sigmoid") != several:
            found = "several labels a row" if several else "one class a row"
            wanted = "sigmoid" if several else "softmax"
            raise InputError(f"data: {found}, but the cohort has form={form!r}; give it {wanted!r}")
        x, y, what = self.few()
        outputs = first_outputs(self.made, x, what)
        self.check(self.made, outputs, y)
        if not all(entry.ready for entry in self.made.transfer.entries):
            with seeded_rng(self.config.seed, "transfer"), evaluating(self.made):
                self.made.transfer.prepare(outputs, self.made.peers)
        return self.made

    def augmentation(self) -> AugmentSpec:
        augment: Any = self.config.augment
        return augment

    def stages(self, cohort: Cohort) -> Sequence[Stage]:
        return [TrainingStage("fit", self.config.epochs, self.loader())]


def named_class(network: nn.Module) -> str:
    """What a configuration says of a network that was made in Python."""
    kind = type(network)
    return f"{GIVEN}{kind.__module__}.{kind.__qualname__}"
