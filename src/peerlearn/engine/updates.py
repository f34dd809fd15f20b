"""The update of one peer: learning rates over a stage, optimisers, clipping, averaged weights."""

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from peerlearn.engine.optimisers import OptimiserSpec
from peerlearn.validation import Spec, short_form


class LearningRate(Spec):
    """How the learning rate moves over a stage, as a factor of `lr`.

    Times are in epochs from 1 up, and fractions of the stage below 1.

    Kinds:
        cosine: half a cosine from 1 to `final`.
        multi_step: times `gamma` at every milestone.
        linear: straight from 1 to `final`.
        constant: 1.
    """

    kind: Literal["cosine", "multi_step", "linear", "constant"] = "cosine"
    warmup: float = Field(
        0.0, ge=0, le=1e6, description="time of linear growth from 0 at the start"
    )
    final: float = Field(0.0, ge=0, le=1, description="factor at the end of cosine and linear")
    milestones: list[Annotated[float, Field(ge=0, le=1e6)]] = Field(
        [0.3, 0.6, 0.8], description="of multi_step: times at which the rate drops"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="of multi_step: factor at each milestone")

    _kind_alone = short_form("kind")

    def factor(self, epoch: float, epochs: int) -> float:
        """Factor of `lr` when `epoch` (fractional) of `epochs` are done."""
        warmup = _in_epochs(self.warmup, epochs)
        if epoch < warmup:
            return max(epoch, 1e-8) / warmup
        done = (epoch - warmup) / max(epochs - warmup, 1e-8)
        match self.kind:
            case "cosine":
                return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(done, 1))) / 2
            case "linear":
                return self.final + (1 - self.final) * (1 - min(done, 1))
            case "multi_step":
                return self.gamma ** sum(epoch >= _in_epochs(m, epochs) for m in self.milestones)
            case "constant":
                return 1.0


def _in_epochs(time: float, epochs: int) -> float:
    return time * epochs if time < 1 else time


class Steps(BaseModel):
    """How weights are stepped, in full."""

    model_config = ConfigDict(frozen=True)

    lr: float
    optimiser: OptimiserSpec
    lr_schedule: LearningRate

    @classmethod
    def settled(cls, training: BaseModel, *own: BaseModel | None) -> "Steps":
        """Each setting of the first of `own` that has it, or else the training's."""
        levels = [*(level for level in own if level is not None), training]

        def chosen(name: str) -> Any:
            return next(v for level in levels if (v := getattr(level, name)) is not None)

        return cls(**{name: chosen(name) for name in cls.model_fields})

    @classmethod
    def of_groups(cls, training: BaseModel, *own: BaseModel | None) -> "dict[str, Steps]":
        """By pattern, the settings of the `groups` that the last of `own` names, a peer's."""
        groups = getattr(own[-1], "groups", {}) if own else {}
        return {pattern: cls.settled(training, group, *own) for pattern, group in groups.items()}


NO_GROUPS: Mapping[str, Steps] = {}


def in_groups(
    named: Iterable[tuple[str, nn.Parameter]], patterns: Iterable[str]
) -> dict[str | None, list[nn.Parameter]]:
    """Parameters by the first pattern that their name fits, those of no pattern under None."""
    groups: dict[str | None, list[nn.Parameter]] = {None: [], **{each: [] for each in patterns}}
    for name, parameter in named:
        fits = (each for each in groups if each is not None and fnmatchcase(name, each))
        groups[next(fits, None)].append(parameter)
    return groups


class _Stepped(NamedTuple):
    """An optimiser and the path of its learning rate."""

    optimiser: torch.optim.Optimizer
    steps: Steps


class PeerUpdate:
    """Optimisers, learning rates, gradient clipping and weight average of one peer.

    Args:
        module: the peer (or the trunk).
        steps: optimiser, base learning rate, and its path over the stage.
        clip_norm: largest L2 norm of the peer's gradient; None leaves it alone.
        extra: parameters beside the module's that are stepped with it, without weight decay:
            what the edges learn on behalf of the peer.
        ema: decay of an exponential moving average of weights and buffers, which is then what
            gets evaluated; None for none.
        groups: steps of parameters of their own, by a pattern of their names; see `in_groups`.
    """

    def __init__(
        self,
        module: nn.Module,
        steps: Steps,
        clip_norm: float | None = None,
        ema: float | None = None,
        extra: Sequence[nn.Parameter] = (),
        groups: Mapping[str, Steps] = NO_GROUPS,
    ) -> None:
        self.module = module
        self.clip_norm = clip_norm
        learning = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        self.parameters = [*(parameter for _, parameter in learning), *extra]
        parts = in_groups(learning, groups)
        rest = parts.pop(None)
        self._stepped = [
            _Stepped(groups[pattern].optimiser.build(part, groups[pattern].lr), groups[pattern])
            for pattern, part in parts.items()
            if part and pattern is not None
        ]
        if rest or extra or not self._stepped:
            self._stepped.insert(0, _Stepped(steps.optimiser.build(rest, steps.lr, extra), steps))
        self.average: AveragedModel | None = None
        if ema is not None:
            mean = get_ema_multi_avg_fn(ema)
            self.average = AveragedModel(module, multi_avg_fn=mean, use_buffers=True)

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are validated, tested and shipped."""
        return self.module if self.average is None else self.average.module

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """That of the parameters without a group; of a group where all have one."""
        return self._stepped[0].optimiser

    @property
    def rate(self) -> float:
        """The learning rate of the last step, as `optimiser` made it."""
        return self.optimiser.param_groups[0]["lr"]

    def set_rate(self, epoch: float, epochs: int) -> None:
        """Set the learning rates for the step that begins at `epoch`."""
        for optimiser, steps in self._stepped:
            rate = steps.lr * steps.lr_schedule.factor(epoch, epochs)
            for group in optimiser.param_groups:
                group["lr"] = rate

    def zero(self) -> None:
        """Forget the last step's gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Clip, step, average."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        for optimiser, _ in self._stepped:
            optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that continuing needs, beside the peer's own weights."""
        first, *others = (optimiser.state_dict() for optimiser, _ in self._stepped)
        state: dict[str, Any] = {"optimiser": first} | ({"groups": others} if others else {})
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        states = [state["optimiser"], *state.get("groups", [])]
        for (optimiser, _), each in zip(self._stepped, states, strict=True):
            optimiser.load_state_dict(each)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
