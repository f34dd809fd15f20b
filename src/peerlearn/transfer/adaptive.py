"""What an exchange of predictions can learn of its own: weights of classes and temperatures.

Suffixes: R rows, C classes, H hidden.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.transfer.outputs import MASKED, masked_at_a_number
from peerlearn.validation import Spec, short_form


class WeightingSpec(Spec):
    """The `weighting` block of an edge. The first key alone is a short form: `class`."""

    by: Literal["none", "class", "sample"] = Field(
        "none",
        description="class: one weight a class, from the confidence in every row, for batches "
        "that always hold the same rows (a whole graph); sample: a weight per row and class",
    )
    hidden: int = Field(16, ge=1, le=1 << 16, description="width h of the two factors")
    activation: Literal["softmax", "two_sigmoid", "sigmoid"] = Field(
        "softmax",
        description="softmax: weights with mean 1; two_sigmoid: between 0 and 2; sigmoid: "
        "between 0 and 1, which can close the exchange altogether",
    )
    supervision: float = Field(
        1.0, ge=0, description="factor of the cross-entropy that trains the weights on labels"
    )

    _by_alone = short_form("by")


class LogitWeighting(nn.Module):
    """How much each class of one peer counts in an exchange, `w = act(φᵀ χᵀ H)`.

    Graph mutual learning (Agbaje et al. 2025, arXiv 2510.19223), re-derived from the public
    abstract and the shapes that reviews of it name. H is the negative entropy of the peer's own
    prediction, without gradient. `class` has χ (R, H), for batches of `rows` R, and divides by R,
    so that the scale does not grow with the graph; `sample` has χ (1, H) and a tanh between the
    factors. φ starts at 0, so `softmax` and `two_sigmoid` start as the identity.
    """

    def __init__(self, spec: WeightingSpec, rows: int, classes: int) -> None:
        super().__init__()
        self.spec = spec
        per_row = rows if spec.by == "class" else 1
        self.chi = nn.Parameter(torch.randn(per_row, spec.hidden) / math.sqrt(spec.hidden))
        self.phi = nn.Parameter(torch.zeros(spec.hidden, classes))

    def forward(self, logits_RC: Tensor) -> Tensor:
        """Weights (C,) for `class`, (R, C) for `sample`.

        Raises InputError: `class` on a batch with another number of rows than it was made for.
        """
        log_probs_RC = masked_at_a_number(F.log_softmax(logits_RC.detach(), dim=-1))
        confidence_R1 = (log_probs_RC.exp() * log_probs_RC).sum(-1, keepdim=True)
        if self.spec.by == "class":
            rows, found = len(self.chi), confidence_R1.numel()
            if found != rows:
                raise InputError(
                    f"transfer.weighting: 'class' was made for {rows} rows and got {found}; where "
                    "batches differ use weighting: sample"
                )
            score = (confidence_R1.flatten() @ self.chi / rows) @ self.phi
        else:
            score = torch.tanh(confidence_R1 * self.chi) @ self.phi
        if self.spec.activation == "softmax":
            return score.shape[-1] * score.softmax(-1)
        return (2 if self.spec.activation == "two_sigmoid" else 1) * score.sigmoid()


class LearnedTemperature(nn.Module):
    """A temperature for every row, `T_v = low + (high − low) · sigmoid(linear([entropy_v, z_v]))`.

    z are the learner's logits, without gradient. In the manner of boosted graph networks (BGNN,
    arXiv 2210.05920); re-derived from descriptions of it. Starts halfway between its bounds. They
    are what keeps it from the trivial optimum of an unbounded temperature, at which all predictions
    agree.
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
        log_probs_RC = masked_at_a_number(F.log_softmax(logits_RC, dim=-1))
        entropy_R1 = -(log_probs_RC.exp() * log_probs_RC).sum(-1, keepdim=True)
        logits_RC = logits_RC.masked_fill(logits_RC < MASKED, 0)  # which say nothing of a row
        squashed = self.linear(torch.cat([entropy_R1, logits_RC], dim=-1)).sigmoid()
        return self.low + (self.high - self.low) * squashed
