"""What every kind of knowledge shares: the options of an entry, and the object that teaches it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from torch import Tensor, nn

from peerlearn.errors import InputError, did_you_mean
from peerlearn.importing import PREFIX
from peerlearn.transfer.averages import peer_averaged
from peerlearn.transfer.divergences import DIVERGENCE_NAMES, LOGIT_DISTANCES
from peerlearn.transfer.outputs import BatchView, OutputForm, PeerOutput, Schedule
from peerlearn.transfer.proven import Pair, Proof, ProvenSpec
from peerlearn.validation import Spec

#: In place of the teachers: every learner is its own.
SELF = "self"


def _divergence_there_is(name: str) -> str:
    if name not in DIVERGENCE_NAMES and not name.startswith(PREFIX):
        allowed = (*DIVERGENCE_NAMES, f"{PREFIX}package.module:function")
        hint = did_you_mean(name, DIVERGENCE_NAMES)
        raise ValueError(f"found {name!r}.{hint} Allowed: {', '.join(allowed)}.")
    return name


DivergenceName = Annotated[str, AfterValidator(_divergence_there_is)]
Rows = Literal["all", "labelled", "unlabelled"]
#: What a learner in another process must be given of its teachers, at every step: their logits,
#: those and the features that `Knowledge.asked_of` names, or their weights; or it cannot be there.
Travels = Literal["nowhere", "logits", "features", "networks"]


class EdgeOptions(Spec):
    """One entry of a transfer graph: who teaches whom, what, and how much it counts.

    The losses of an entry are averaged (or summed) over its teachers; entries add up. A kind of
    knowledge adds its own options in a subclass.

    Attributes:
        headline: the option that names the loss, for the short form `"KIND: LOSS"` and reports.
        own_scale: options that other kinds have by the same name with another meaning, so that an
            entry takes them from the mapping around it only where that is about this kind.
        reported: options that `described` gives beside the loss, in order.
    """

    model_config = ConfigDict(populate_by_name=True)

    headline: ClassVar[str] = ""
    own_scale: ClassVar[tuple[str, ...]] = ()
    reported: ClassVar[tuple[str, ...]] = ("weight", "target")

    teachers: str | list[str] = Field(
        "all",
        alias="from",
        description="teaching peers: 'all', a name or a list of names; 'self': every learner "
        "itself, by its own predictions at a teacher_temperature other than its temperature, or "
        "by its teacher_ema",
    )
    learners: str | list[str] = Field(
        "all", alias="to", description="learning peers: 'all', a name or a list of names"
    )
    knowledge: str = Field("predictions", description="what is transferred")
    weight: float = Field(1.0, ge=0, description="factor of this entry's loss")
    weight_schedule: Schedule = Field(Schedule(), description="path of the weight to its value")
    teacher_ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of an exponential moving average of each teacher's weights, which "
        "teaches in its place, for one more forward (Mean Teacher); null: teachers as they are",
    )
    teacher_view: int | None = Field(
        None,
        ge=0,
        lt=8,
        description="number of the augmented view that averages of teachers read; null: each its "
        "peer's",
    )
    detach: bool = Field(True, description="keep the learner's loss from reaching the teacher")
    target: Literal["mean", "sum", "ensemble"] = Field(
        "mean",
        description="mean or sum of the divergences from each teacher, or the divergence from "
        "the teachers' mean probability (DML_e)",
    )
    proven: ProvenSpec = Field(
        ProvenSpec(), description="open while validation shows it right; see ProvenSpec"
    )

    @property
    def fixed_rows(self) -> bool:
        """Whether what the entry learns belongs to the rows of one batch, as a whole graph's."""
        return False

    @property
    def loss_name(self) -> str | None:
        """The loss with its order, for reports."""
        return getattr(self, self.headline) if self.headline else None

    def described(self) -> dict[str, Any]:
        """What the edges teach and how, as flat values for reports."""
        values = {name: getattr(self, name) for name in self.reported}
        values["weight"] = self.weight_schedule.describe(self.weight)
        if self.proven.ends != "none":
            values["proven"] = self.proven.described()
        if self.teacher_ema is not None:
            values["teacher_ema"] = self.teacher_ema
        if self.teacher_view is not None:
            values["teacher_view"] = self.teacher_view
        return {"knowledge": self.knowledge, "divergence": self.loss_name} | values

    def of_teachers(self, losses: Sequence[Tensor]) -> Tensor:
        """The mean or the sum of scalars, one from each teacher."""
        together = torch.stack(list(losses))
        return together.sum() if self.target == "sum" else together.mean()

    def faults(self) -> Iterator[str]:
        """What is wrong with options beside each other; the first is told."""
        averaged = self.teacher_ema is not None
        if self.teacher_view is not None and not averaged:
            yield (
                f"teacher_view: found {self.teacher_view} without a teacher_ema; teachers as they "
                "are run once, on their own view (peers.NAME.view)"
            )
        if averaged and not self.detach:
            yield (
                f"detach: false with teacher_ema {self.teacher_ema:g}, an average that no gradient "
                "reaches; allowed: true"
            )
        if self.teachers == SELF and not averaged and self.knowledge != "predictions":
            yield (
                f"from: {SELF!r} has its own predictions to learn from, and this edge has "
                f"knowledge {self.knowledge!r}; allowed: predictions, or a teacher_ema"
            )

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        for fault in self.faults():
            raise ValueError(fault)
        return self


class DivergenceOptions(EdgeOptions):
    """Options of entries that compare distributions by a divergence."""

    headline: ClassVar[str] = "divergence"

    divergence: DivergenceName = Field(
        "kl",
        description="how far the learner is from the teacher; of relations symmetric_kl by "
        "default. One of your own, of the logits of both: python:package.module:function",
    )
    alpha: float | None = Field(None, gt=0, description="order of the Rényi divergence")
    alpha_schedule: Schedule = Field(Schedule(), description="path of alpha to its value")

    def order(self, view: BatchView) -> float | None:
        """The order of the Rényi divergence now; None for another divergence."""
        return None if self.alpha is None else view.at(self.alpha_schedule, self.alpha, "alpha")

    @property
    def on_logits(self) -> bool:
        """Whether the divergence is a distance between logits."""
        return self.divergence in LOGIT_DISTANCES or self.is_own

    @property
    def is_own(self) -> bool:
        """Whether the divergence is a function of the user's."""
        return self.divergence.startswith(PREFIX)

    @property
    def loss_name(self) -> str:
        order = "" if self.alpha is None else f" α={self.alpha_schedule.describe(self.alpha)}"
        return f"{self.divergence}{order}"

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        renyi, found = self.divergence == "renyi", f"with divergence {self.divergence!r}"
        if renyi and self.alpha is None:
            yield "alpha: divergence 'renyi' needs its order, a number > 0"
        if not renyi and self.alpha is not None:
            yield f"alpha: found {self.alpha:g} {found}; the order belongs to 'renyi' alone"
        if not renyi and self.alpha_schedule.kind != "constant":
            yield f"alpha_schedule: found {found}; the order belongs to 'renyi' alone"


class IncomingEdges(NamedTuple):
    """The edges of one entry that lead to one learner."""

    learner: str
    teachers: tuple[str, ...]


class Knowledge(nn.Module, ABC):
    """One entry of a transfer graph: its edges, and all that they learn and remember.

    A kind is a subclass with `Options` and `losses`; the rest has defaults. One of this package has
    its line in `KINDS`; another is named `python:package.module:Class` in an entry.

    Args:
        options: of the entry, from `Options`.
        field: the entry as its configuration names it, for messages.
        incoming: the edges, by learner.
        form: `softmax` for one class a row, `sigmoid` for multi-label outputs.

    Attributes:
        travels: what learners in other processes must be given of their teachers.
        lends: whether learners read what the entry learns on behalf of their teachers.
        remembers: whether it keeps something of every batch that trains.
        supervised: whether it has losses of its own for what it learns; see `own_losses`.
        ready: whether `losses` can be asked; otherwise `prepare` comes first.
        provable: whether `losses` asks `taught` which edges are open, so that they may be `proven`.
        proof: what says which edges are open; None where all of them always are.
        absent: peers that cannot teach yet, whose edges are shut.
        all_open: whether no edge can be shut.
    """

    Options: ClassVar[type[EdgeOptions]]
    travels: Travels = "nowhere"
    lends: bool = False
    remembers: bool = False
    supervised: bool = False
    ready: bool = True
    provable: bool = False

    def __init__(
        self, options: Any, field: str, incoming: Sequence[IncomingEdges], form: OutputForm
    ) -> None:
        super().__init__()
        self.options, self.field, self.incoming = options, field, tuple(incoming)
        self.form: OutputForm = form
        self.proof: Proof | None = None
        self.absent: frozenset[str] = frozenset()
        if self.options.proven.ends != "none":
            self._check_provable()
            self.proof = Proof(self.options.proven, self.pairs, self.speaks, field)
        self.all_open = self.proof is None

    @property
    def pairs(self) -> list[Pair]:
        """All edges as (teacher, learner)."""
        return [(teacher, learner) for learner, all_ in self.incoming for teacher in all_]

    @property
    def stays(self) -> str:
        """Why its peers cannot live in different processes; empty where they can."""
        if self.travels == "nowhere":
            return (
                f"knowledge {self.options.knowledge!r} does not say what learners elsewhere must "
                "be given (Knowledge.travels)"
            )
        if not self.options.detach and any(teacher != learner for teacher, learner in self.pairs):
            return "detach: false lets gradients reach teachers, and none leaves its process"
        return ""

    def asked_of(self, peer: str, output: PeerOutput) -> Collection[str]:
        """Names of the features of a teacher that learners elsewhere read; of all if it remembers.

        Only for what travels as `features`.
        """
        return output.features

    @abstractmethod
    def losses(self, view: BatchView, learners: Collection[str]) -> Mapping[str, Tensor]:
        """The loss of each of the entry's learners among `learners`, before its weight.

        Scalars in fp32. A learner that is left out learns nothing here. Raises InputError: what the
        peers say cannot be compared.
        """

    def prepare(self, view: BatchView) -> None:
        """Make what the edges learn and keep, for batches of the shape of `view`.

        Initial values come from torch's global generator.
        """

    def own_losses(self, view: BatchView, learners: Collection[str]) -> Mapping[str, Tensor]:
        """Losses by peer that train what the entry itself learns, whatever its weight."""
        return {}

    def check_memory(self, view: BatchView) -> None:
        """Raise `InputError` where `remember` could not take a batch as a whole."""

    def remember(self, view: BatchView) -> None:
        """Keep what is needed of a batch that trains and from which somebody learns here."""

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """What is learned on behalf of one peer, for its optimiser."""
        return []

    def wanted(self, learners: Collection[str]) -> list[IncomingEdges]:
        """The edges that lead to one of `learners`, open or not."""
        return [edges for edges in self.incoming if edges.learner in learners]

    def shut_out(self, absent: Collection[str]) -> None:
        """Shut the edges of peers that cannot teach yet, and of no others."""
        self.absent = frozenset(absent)
        self.all_open = self.proof is None and not self.absent

    def taught(self, learners: Collection[str]) -> list[IncomingEdges]:
        """The edges that lead to one of `learners` and are open."""
        if self.all_open:
            return self.wanted(learners)
        open_ = set(self.pairs) if self.proof is None else self.proof.open
        open_ = {pair for pair in open_ if peer_averaged(pair[0]) not in self.absent}
        edges = (
            IncomingEdges(learner, tuple(t for t in teachers if (t, learner) in open_))
            for learner, teachers in self.wanted(learners)
        )
        return [each for each in edges if each.teachers]

    def share_open(self, learner: str) -> float:
        """The share of a learner's edges that are open."""
        of_all = [len(edges.teachers) for edges in self.wanted([learner])]
        open_ = [len(edges.teachers) for edges in self.taught([learner])]
        return sum(open_) / max(sum(of_all), 1)

    def speaks(self, log_probs_RC: Tensor, y_R: Tensor) -> Tensor:
        """The rows, bool (R,), on which a peer teaches here that holds classes so probable.

        Shapes:
            log_probs_RC: up to a constant of each row.
            y_R: labels, −1 for none.
        """
        return torch.ones_like(y_R, dtype=torch.bool)

    def _check_provable(self) -> None:
        if not self.provable:
            raise InputError(
                f"{self.field}.proven: knowledge {self.options.knowledge!r} does not ask which "
                "edges are open; its class must read `taught` and set provable = True"
            )
        if self.form == "sigmoid":
            raise InputError(
                f"{self.field}.proven: counts the rows whose one class is right, but the outputs "
                "are multi-label (form 'sigmoid'); allowed: none"
            )
