"""Heads of UNO: prototypes on the unit sphere, and projectors in front of those of new classes.

Fini et al., "A Unified Objective for Novel Class Discovery", ICCV 2021.

Shape suffixes: B rows, D features, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.transfer.outputs import PeerOutput

RECORD = 0.99
"""Of the running loss of a head, what remains of it after one step."""


class Prototypes(nn.Module):
    """Cosine / temperature between a row and each of `count` learned directions.

    The authors scale weights to norm 1 before every step; here the forward does, so that weights
    may have any norm and no step is special.

    Shapes:
        input: (B, D); output: (B, count)
    """

    def __init__(self, features: int, count: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = nn.Parameter(torch.empty(count, features))
        nn.init.normal_(self.weight, std=features**-0.5)

    def forward(self, x_BD: Tensor) -> Tensor:
        return F.linear(F.normalize(x_BD, dim=1), F.normalize(self.weight, dim=1)) / (
            self.temperature
        )


class UnoHeads(nn.Module):
    """Prototypes of the known classes, H heads for the new ones, H heads of more clusters.

    Logits of new classes are those of the head with the lowest loss so far, by a running mean of
    what `record` was told; the first head before that.

    Args:
        features: width of the pooled feature, which the known classes' prototypes read.
        known: classes with labels.
        new: classes without.
        heads: H.
        over_factor: clusters of an over-clustering head are this times `new`; 0: no such heads.
        hidden: units of a projector's hidden layer.
        projected: width of what a projector gives.
        temperature: of all logits.

    Shapes:
        input: (B, features)
        logits: (B, known + new)
        features: `heads` (B, H, new), `over` (B, H, over_factor · new)
    """

    losses: Tensor

    def __init__(
        self,
        features: int,
        known: int,
        new: int,
        *,
        heads: int = 4,
        over_factor: int = 3,
        hidden: int = 2048,
        projected: int = 256,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()

        def head(clusters: int) -> nn.Sequential:
            return nn.Sequential(
                projector(features, hidden, projected),
                Prototypes(projected, clusters, temperature),
            )

        self.known = Prototypes(features, known, temperature)
        self.heads = nn.ModuleList(head(new) for _ in range(heads))
        self.over = nn.ModuleList(
            head(over_factor * new) for _ in range(heads if over_factor else 0)
        )
        self.register_buffer("losses", torch.zeros(heads))

    def forward(self, pooled_BD: Tensor) -> PeerOutput:
        heads_BHN = torch.stack([head(pooled_BD) for head in self.heads], 1)
        features = {"heads": heads_BHN}
        if self.over:
            features["over"] = torch.stack([head(pooled_BD) for head in self.over], 1)
        # Selected by a tensor, so that nothing waits for it.
        best_BN = heads_BHN.index_select(1, self.losses.argmin().view(1)).squeeze(1)
        return PeerOutput(torch.cat([self.known(pooled_BD), best_BN], 1), features)

    @torch.no_grad()
    def record(self, losses_H: Tensor) -> None:
        """Tell the loss of every head at a step; nothing happens in evaluation mode."""
        if self.training:
            self.losses.lerp_(losses_H.to(self.losses), 1 - RECORD)


def projector(features: int, hidden: int, projected: int) -> nn.Sequential:
    """Linear, batch normalisation, ReLU, linear."""
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, projected),
    )
