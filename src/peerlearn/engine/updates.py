"""What happens to one peer's weights after its gradient is there."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from peerlearn.engine.settings import Steps


class PeerUpdate:
    """Optimiser, learning rate, gradient clipping and weight average of one peer.

    Args:
        module: the peer (or the trunk).
        steps: optimiser, base learning rate, and its path over the stage.
        clip_norm: largest L2 norm of the peer's gradient; None leaves it alone.
        extra: parameters beside the module's that are stepped with it, without weight decay:
            what the edges learn on behalf of the peer.
        ema: decay of an exponential moving average of weights and buffers, which is then what
            gets evaluated; None for none.
    """

    def __init__(
        self,
        module: nn.Module,
        steps: Steps,
        clip_norm: float | None = None,
        ema: float | None = None,
        extra: Sequence[nn.Parameter] = (),
    ) -> None:
        self.module = module
        self.base_lr = steps.lr
        self.schedule = steps.lr_schedule
        self.clip_norm = clip_norm
        own = [p for p in module.parameters() if p.requires_grad]
        self.parameters = [*own, *extra]
        self.optimiser = steps.optimiser.build(own, steps.lr, extra)
        self.average = (
            AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
            if ema is not None
            else None
        )

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are validated, tested and shipped."""
        return self.module if self.average is None else self.average.module

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return self.optimiser.param_groups[0]["lr"]

    def set_rate(self, epoch: float, epochs: int) -> None:
        """Set the learning rate for the step that begins at `epoch`."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.base_lr * self.schedule.factor(epoch, epochs)

    def zero(self) -> None:
        """Forget the last step's gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Clip, step, average."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that continuing needs, beside the peer's own weights."""
        state: dict[str, Any] = {"optimiser": self.optimiser.state_dict()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
