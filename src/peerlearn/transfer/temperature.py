"""A temperature for every row, learned from what the learner says of it.

In the manner of boosted graph networks (BGNN, arXiv 2210.05920); re-derived from descriptions of
it. Suffixes: R rows, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LearnedTemperature(nn.Module):
    """`T_v = low + (high − low) · sigmoid(linear([entropy_v, z_v]))`, from logits without gradient.

    Starts halfway between its bounds. They are what keeps it from the trivial optimum of an
    unbounded temperature, at which all predictions agree.

    Args:
        classes: C.
        low, high: bounds of the temperature.
    """

    def __init__(self, classes: int, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.linear = nn.Linear(classes + 1, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, logits_RC: Tensor) -> Tensor:
        """Temperatures (R, 1)."""
        logits_RC = logits_RC.detach()
        log_probs_RC = F.log_softmax(logits_RC, dim=-1)
        entropy_R1 = -(log_probs_RC.exp() * log_probs_RC).sum(-1, keepdim=True)
        squashed = self.linear(torch.cat([entropy_R1, logits_RC], dim=-1)).sigmoid()
        return self.low + (self.high - self.low) * squashed
