"""UNO: one softmax over known and new classes, with equal shares of the unlabelled rows as targets.

Fini, Sangineto, Lathuilière, Zhong, Nabi, Ricci, "A Unified Objective for Novel Class Discovery",
ICCV 2021.

Shape suffixes: B images, H heads, C known classes, N clusters of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from peerlearn.objectives.base import Objective, PeerView
from peerlearn.tasks.discovery.objectives.pairs import check_new_classes, feature, paired
from peerlearn.transfer.outputs import PeerOutput
from peerlearn.validation import Spec


class UnoSpec(Spec):
    """Heads of UNO and their targets. Defaults are those of the authors."""

    heads: int = Field(
        4, ge=1, le=1000, description="heads for the new classes, each with a projector"
    )
    over_factor: int = Field(
        3,
        ge=0,
        le=1000,
        description="clusters of an over-clustering head for every new class; 0: no such",
    )
    hidden: int = Field(2048, ge=1, le=1 << 16, description="units of a projector's hidden layer")
    projected: int = Field(256, ge=1, le=1 << 16, description="width of what a projector gives")
    temperature: float = Field(0.1, gt=0, description="of the softmax over cosines")
    epsilon: float = Field(0.05, gt=0, description="ε of the equal shares; smaller is harder")
    iterations: int = Field(3, ge=1, le=10_000, description="of Sinkhorn-Knopp")


@dataclass(frozen=True)
class UnoObjective(Objective):
    """Cross-entropy with the other view's targets, mean over rows, views and heads.

    Logits of a head are those of the known classes beside its own. The target of a labelled row is
    its label; that of an unlabelled one is 0 for the known classes and `sinkhorn` of its cosines
    for the head's clusters. Each view learns the targets of the other. Over-clustering heads do
    the same for themselves, and the loss is the mean of both kinds.

    The authors' second view is two large and two small crops; here it is one.

    `record` is told the loss of every head, (H,) without gradient, as `UnoHeads.record` is.
    """

    spec: UnoSpec
    known: int
    record: Callable[[Tensor], None] | None = None

    def loss(self, view: PeerView) -> Tensor:
        """The loss of one peer, whose heads are `UnoHeads`.

        Shapes:
            output.logits: (2B, known + new), paired rows; only those of the known classes are
                read.
            output.features: `heads` (2B, H, new), and `over` (2B, H, more) where there are
                over-clustering heads: logits, which are cosines / temperature.
            targets: int64 (2B,), −1 where unlabelled; the second view's are not read.
            result: scalar, fp32.

        Raises InputError: rows that are not paired, no logits of new classes, a missing feature.
        """
        output = view.output
        check_new_classes(output.logits, self.known)
        labels = [paired(each, "targets")[0] for each in view.labels()]
        clusters_H = self._swapped(output, "heads", *labels)
        if self.record is not None:
            self.record(clusters_H.detach())
        if not self.spec.over_factor:
            return clusters_H.mean()
        return (clusters_H.mean() + self._swapped(output, "over", *labels).mean()) / 2

    def scored(self, output: PeerOutput) -> Tensor:
        """The logits that labels are about."""
        return output.logits[:, : self.known]

    def _swapped(self, output: PeerOutput, kind: str, y_B: Tensor, labelled_B: Tensor) -> Tensor:
        """The loss of every head of a kind, (H,)."""
        heads = feature(output, kind).float()
        beside = self.scored(output).unsqueeze(1).expand(-1, heads.shape[1], -1)
        views = paired(F.log_softmax(torch.cat([beside, heads], -1), -1), "heads")
        targets = [self._targets(half, y_B, labelled_B) for half in paired(heads.detach(), "heads")]
        pairs = zip(views, reversed(targets), strict=True)
        losses = [-(target * log_p).sum(-1) for log_p, target in pairs]
        return torch.cat(losses).sum(0) / max(2 * len(y_B), 1)

    def _targets(self, heads_BHN: Tensor, y_B: Tensor, labelled: Tensor) -> Tensor:
        """Labels of labelled rows, equal shares of the others, (B, H, C + N)."""
        rows, heads, clusters = heads_BHN.shape
        targets = heads_BHN.new_zeros(rows, heads, self.known + clusters)
        targets[..., : self.known] = (
            F.one_hot(y_B.clamp_min(0), self.known) * labelled.unsqueeze(1)
        ).unsqueeze(1)
        cosines_HMN = heads_BHN[~labelled].transpose(0, 1) * self.spec.temperature
        shares_HMN = sinkhorn(cosines_HMN, self.spec.epsilon, self.spec.iterations)
        targets[~labelled, :, self.known :] = shares_HMN.transpose(0, 1)
        return targets


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Sinkhorn-Knopp: exp(scores / ε), its columns and then its rows scaled to equal sums, again.

    Rows of the result sum to 1; columns to M / K the more nearly, the more iterations. Cuturi,
    "Sinkhorn Distances", NeurIPS 2013; as targets of clustering: Caron et al. (SwAV), NeurIPS 2020,
    and Fini et al. (UNO), ICCV 2021. In fp32 and by logarithms: a cluster that no row comes near
    does not underflow.

    `scores` (..., M, K) say how well rows fit clusters, such as cosines; the result is fp32 of the
    same shape, without gradient. A smaller ε gives harder assignments.
    """
    log_q = scores.float() / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(-2, keepdim=True)
        log_q = log_q - log_q.logsumexp(-1, keepdim=True)
    return log_q.exp()
