"""Edges that must prove themselves on validation rows before they teach.

A network that meets a structure it cannot use is pulled along by peers who are worse, and then no
longer looks better than they do: to compare peers with each other comes too late. What holds is to
ask of each end of an edge whether it is right, often enough, where it would speak.

Measured on graphs in benchmarks/graph; the rule reads predictions on validation rows alone, so that
nothing ties it to graphs.

Shape suffixes: R validation rows, C classes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.averages import peer_averaged
from peerlearn.validation import Spec, short_form

#: By (teacher, learner).
Pair = tuple[str, str]
#: From log-probabilities (R, C) and labels (R,): the rows on which a peer would speak, bool (R,).
Speaks = Callable[[Tensor, Tensor], Tensor]


class ProvenSpec(Spec):
    """The `proven` block of an edge: what it has to show before it teaches.

    `ends` alone is a short form, and `both` where other keys are given without it.
    """

    ends: Literal["none", "both", "teacher"] = Field(
        "none",
        description="both: an edge is open while both its ends are reliable; teacher: while its "
        "teacher is, and is not worse than the learner on the rows on which it would speak",
    )
    least: float = Field(
        0.7,
        ge=0,
        lt=1,
        description="accuracy, one standard error below the one that is found, that makes a peer "
        "reliable",
    )
    scale: Literal["accuracy", "above_majority"] = Field(
        "accuracy",
        description="accuracy: least is one; above_majority: it is how far one has to be on the "
        "way from the rate of the most frequent class among validation rows to 1",
    )
    rows: int = Field(
        1, ge=1, le=1 << 30, description="validation rows on which a peer must speak, at least"
    )
    decay: float = Field(
        0.9, ge=0, lt=1, description="of the running mean of a peer's predictions over validations"
    )

    _ends_alone = short_form("ends")

    @model_validator(mode="before")
    @classmethod
    def _both_unless_said(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given and "ends" not in given:
            return {"ends": "both", **given}
        return given

    def described(self) -> str:
        """A short reading for reports, such as `both ends above 0.7`."""
        ends = "both ends" if self.ends == "both" else "teacher"
        above = " of the way from the majority rate" if self.scale == "above_majority" else ""
        return f"{ends} above {self.least:g}{above}"


class Spoken(NamedTuple):
    """What a peer says on the rows on which it would speak."""

    rows: Tensor  # bool (R,)
    right: Tensor  # bool (R,), on all rows

    def accuracy(self) -> float:
        """One standard error below (right + 1) / (rows + 2); Laplace's rule is for few rows."""
        n = int(self.rows.sum())
        p = (int((self.right & self.rows).sum()) + 1) / (n + 2)
        return p - (p * (1 - p) / max(n, 1)) ** 0.5


class Proof(nn.Module):
    """Which edges of an entry are open; none is, before the first validation.

    State is saved and loaded with the entry, so that a resumed run goes on with the same edges.

    Attributes:
        found: of every edge, whether it is open.
        open, shut: the edges that teach until the next validation, and the others.
        seen: whether there was a validation.

    Args:
        spec: what edges have to show.
        pairs: the edges.
        speaks: on which rows a peer would speak.
        field: the entry as its configuration names it, for messages.
    """

    proven: Tensor

    def __init__(self, spec: ProvenSpec, pairs: Sequence[Pair], speaks: Speaks, field: str) -> None:
        super().__init__()
        self.spec, self.pairs, self.field = spec, tuple(pairs), field
        # The average of a peer is as reliable as the peer, whose predictions validation has.
        self.peers = tuple(dict.fromkeys(peer_averaged(name) for pair in pairs for name in pair))
        self._speaks = speaks
        self.register_buffer("proven", torch.zeros(len(self.pairs), dtype=torch.bool))
        self._settle()

    def _settle(self) -> None:
        """Plain values beside the buffers, so that a step waits for no device."""
        self.found: list[bool] = self.proven.tolist()
        told = list(zip(self.pairs, self.found, strict=True))
        self.open = frozenset(pair for pair, it in told if it)
        self.shut = [pair for pair, it in told if not it]
        self.seen = any(key.startswith("running_") for key, _ in self.named_buffers())

    def update(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        """Take the predictions of one validation.

        Shapes:
            logits: by peer (R, C), the same rows in the same order every time.
            y: int64 (R,), −1 for a row that does not count.

        Raises InputError: other rows than before, or outputs that are no class scores of rows.
        """
        spoken = {name: self._spoken(name, logits, y) for name in self.peers}
        bar = self._bar(y)
        reliable = {
            name: int(said.rows.sum()) >= self.spec.rows and said.accuracy() >= bar
            for name, said in spoken.items()
        }
        found = [self._holds(pair, reliable, spoken) for pair in self.pairs]
        self.proven = torch.tensor(found, dtype=torch.bool)
        self._settle()

    def _holds(
        self, pair: Pair, reliable: Mapping[str, bool], spoken: Mapping[str, Spoken]
    ) -> bool:
        teacher, learner = map(peer_averaged, pair)
        if self.spec.ends == "both":
            return reliable[teacher] and reliable[learner]
        rows, taught = spoken[teacher]
        only_learner = int((rows & ~taught & spoken[learner].right).sum())
        only_teacher = int((rows & taught & ~spoken[learner].right).sum())
        differ = only_learner + only_teacher
        return reliable[teacher] and only_learner - only_teacher <= differ**0.5

    def _bar(self, y: Tensor) -> float:
        if self.spec.scale == "accuracy":
            return self.spec.least
        counted = y[y >= 0]
        majority = int(torch.bincount(counted).max()) / len(counted) if len(counted) else 0.0
        return majority + self.spec.least * (1 - majority)

    def _spoken(self, name: str, logits: Mapping[str, Tensor], y: Tensor) -> Spoken:
        """Of the running mean of a peer's probabilities, which this validation joins."""
        now_RC = logits[name].detach().float().cpu().softmax(-1)
        key = f"running_{name}"
        before_RC = getattr(self, key, None)
        if before_RC is None:
            before_RC = torch.zeros_like(now_RC)
        elif before_RC.shape != now_RC.shape:
            raise InputError(
                f"{self.field}.proven: peer {name!r} gave predictions of shape "
                f"{tuple(now_RC.shape)}, and {tuple(before_RC.shape)} before; edges prove "
                "themselves on the same validation rows every time"
            )
        decay = self.spec.decay
        # It begins at 0 and is not divided by its weight: what reads it normalises.
        running_RC = decay * before_RC.cpu() + (1 - decay) * now_RC
        self.register_buffer(key, running_RC)
        log_RC = running_RC.log()
        counted = y >= 0
        return Spoken(self._speaks(log_RC, y) & counted, (log_RC.argmax(-1) == y) & counted)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name in self.peers:  # whose rows are not known before they are seen
            key = f"running_{name}"
            if (saved := state_dict.get(prefix + key)) is not None:
                self.register_buffer(key, torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._settle()


def labels_to_prove_on(outputs: Collection[Tensor], y: Any, field: str) -> Tensor:
    """Labels on the CPU, one class a row.

    Raises InputError: they are no such, or predictions are of more than rows, such as pixels.
    """
    if not isinstance(y, Tensor) or y.is_floating_point() or y.ndim != 1:
        found = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y)
        raise InputError(
            f"{field}.proven: counts the rows that peers get right, and these labels are {found}; "
            "expected one class a row, int64 (rows,)"
        )
    for logits in outputs:
        if logits.ndim != 2 or len(logits) != len(y):
            raise InputError(
                f"{field}.proven: predictions of shape {tuple(logits.shape)} for {len(y)} labels; "
                "expected (rows, classes)"
            )
    return y.detach().cpu()
