"""What the recipe `backdoor` may be told."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from peerlearn.data.spec import AugmentChoice, DataSpec, FractionOrCount
from peerlearn.engine.settings import MOST_EPOCHS, MOST_ROWS, StepSettings
from peerlearn.metrics.catalogue import Metric
from peerlearn.systems.backdoor.attacks import AnyAttack
from peerlearn.systems.backdoor.choice import chosen_by
from peerlearn.systems.backdoor.defences import DEFENCES
from peerlearn.systems.backdoor.defences.base import Defence
from peerlearn.systems.backdoor.metrics import BACKDOOR
from peerlearn.tasks.classification.config import ClassificationConfig
from peerlearn.transfer.spec import TransferSpec
from peerlearn.validation import Spec

VICTIM, TEACHER, STUDENT, SCOUT = "victim", "teacher", "student", "scout"


class Nothing(Defence):
    """The poisoned network as it is."""

    method: Literal["none"] = "none"


class FromScratch(Defence):
    """A new network, trained on the clean rows alone: the floor that a defence must beat."""

    tunes: ClassVar[bool] = True

    method: Literal["scratch"] = "scratch"


class FineTuning(Defence):
    """The poisoned network, trained further on the clean rows."""

    tunes: ClassVar[bool] = True

    method: Literal["ft"] = "ft"


class NonTargetMutual(Defence):
    """Non-target training of a student on the poisoned rows, then mutual learning on clean rows."""

    tunes: ClassVar[bool] = True

    method: Literal["nt-ml"] = "nt-ml"
    start: Literal["fresh", "victim"] = Field(
        "fresh", description="weights of the student; those of the victim keep its backdoor"
    )


OWN: dict[str, type[Defence]] = {
    "none": Nothing,
    "scratch": FromScratch,
    "ft": FineTuning,
    "nt-ml": NonTargetMutual,
}
AnyDefence = Annotated[
    SerializeAsAny[Defence], BeforeValidator(chosen_by("method", OWN | DEFENCES))
]


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if min(values) <= 0:
        raise ValueError(f"found {min(values):g}; allowed: numbers above 0")
    return values


PerChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=4096)]


class BackdoorData(DataSpec):
    """The `data` block: rows that are poisoned, and the clean ones of whoever defends."""

    attack: AnyAttack | None = Field(
        None,
        description="how training rows are poisoned; null: they are as they are, or as `peerlearn "
        "attack` wrote them",
    )
    clean: FractionOrCount = Field(
        0.05,
        gt=0,
        description="rows that are known to be clean, as a share of the training rows or a count: "
        "of the validation rows where there are any, else held out of train before the attack",
    )
    clean_from: str | None = Field(
        None,
        description="data set, by name or path, whose training rows are all known to be clean, in "
        "place of `clean`; that of `name` itself: there are no other rows to learn from",
    )
    held_out: FractionOrCount = Field(
        0.2,
        gt=0,
        description="of the clean rows, those that choose thresholds and weights and are not "
        "learned from",
    )
    mean: PerChannel | None = Field(
        None,
        description="what networks subtract from each channel of pixels in [0, 1], as they did "
        "when they were trained elsewhere; one number is for all; null: mean of the training rows",
    )
    std: Annotated[PerChannel, AfterValidator(_positive)] | None = Field(
        None, description="what they divide by then; goes with `mean`"
    )

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> Self:
        if (self.mean is None) != (self.std is None):
            missing, given = ("std", "mean") if self.std is None else ("mean", "std")
            raise ValueError(f"{missing}: missing; it goes with {given}")
        return self


class StageSpec(StepSettings):
    """One stage."""

    epochs: int = Field(20, ge=0, le=MOST_EPOCHS, description="passes over its rows; 0: without it")
    batch_size: int | None = Field(
        None, ge=2, le=MOST_ROWS, description="rows a step; null: as in the last stage"
    )


class NonTargetSpec(StageSpec):
    """The stage in which the student learns without labels."""

    rows: Literal["train", "clean"] = Field(
        "train", description="the rows it learns from; clean: where training rows are not at hand"
    )
    transfer: TransferSpec = Field(
        TransferSpec(), description="its edges; those of the last stage are `transfer`"
    )


class StagesSpec(Spec):
    """The `stages` block: what happens before the last stage."""

    standard: StageSpec = Field(
        StageSpec(), description="the victim learns from the poisoned rows as anybody would"
    )
    scout: StageSpec = Field(
        StageSpec(), description="a peer called scout, if there is one, learns from clean rows"
    )
    non_target: NonTargetSpec = Field(NonTargetSpec(), description="of defence nt-ml alone")


class BackdoorConfig(ClassificationConfig):
    """Configuration of `backdoor`."""

    metrics: ClassVar[tuple[Metric, ...]] = BACKDOOR

    data: BackdoorData = Field(BackdoorData(), description="which data, how poisoned, how clean")
    defence: AnyDefence = Field(NonTargetMutual(), description="how the victim is purified")
    stages: StagesSpec = Field(StagesSpec(), description="see StagesSpec")
    clean_augment: AugmentChoice | None = Field(
        None, description="random changes of clean rows in the last stage; null: as `augment`"
    )

    @model_validator(mode="after")
    def _peers_have_their_parts(self) -> Self:
        needed = [VICTIM, STUDENT]
        if self.defence.method == "nt-ml":
            needed.append(TEACHER)
        for name in needed:
            if name not in self.peers:
                raise ValueError(
                    f"peers: defence {self.defence.method!r} needs a peer {name!r}; found "
                    f"{', '.join(self.peers)}"
                )
        known = (VICTIM, TEACHER, STUDENT, SCOUT)
        if odd := [name for name in self.peers if name not in known]:
            raise ValueError(f"peers: {odd[0]!r} has no part; allowed: {', '.join(known)}")
        self._copies_are_possible()
        return self

    def _copies_are_possible(self) -> None:
        """What begins with the weights of the victim has its network."""
        victim = self.peers[VICTIM]
        for name in self.begun_as_the_victim:
            peer = self.peers[name]
            if (peer.model, peer.arguments) != (victim.model, victim.arguments):
                raise ValueError(
                    f"peers.{name}.model: begins with the weights of {VICTIM}, {victim.model!r} "
                    f"{victim.arguments}; found {peer.model!r} {peer.arguments}"
                )

    @property
    def begun_as_the_victim(self) -> list[str]:
        """Peers that get the victim's weights before they are purified."""
        defence = self.defence
        if isinstance(defence, NonTargetMutual):
            return [TEACHER, STUDENT] if defence.start == "victim" else [TEACHER]
        return [] if isinstance(defence, FromScratch) else [STUDENT]
