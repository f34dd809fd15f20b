"""What a recommender learns from: which of the candidates a user listened to.

Shape suffixes: B users, C candidates, I items.
"""

from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from peerlearn.objectives.base import Objective, PeerView
from peerlearn.transfer.outputs import LEFT_OUT, PeerOutput
from peerlearn.validation import Spec

#: Name of the feature that is a peer's valence and arousal of all items, (I, 2).
EMOTION = "emotion"
#: Name of the feature that says which negatives a peer learns from, bool (C,), where not from all.
DRAWN = "drawn"


@runtime_checkable
class Feels(Protocol):
    """A peer that knows valence and arousal (I, 2) of some items, and of which, bool (I,)."""

    emotion_I2: Tensor
    felt_I: Tensor


class Ranking(Spec, Objective):
    """A loss over the candidates of a batch, whose targets (B, C) are 1 where a user listened.

    Losses:
        softmax: −Σ_i y log softmax(s) / Σ y, sampled softmax over the candidates; what is no
            positive of a user is a negative.
        bpr: −log σ(s_i − s_j), Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit
            Feedback", UAI 2009; each positive i is paired with one candidate j that is none.
    """

    loss_name: Literal["softmax", "bpr"] = Field(
        "softmax", alias="loss", description="softmax over candidates, or pairs (bpr)"
    )
    emotion: float = Field(
        0.0, ge=0, description="weight of the squared error of valence and arousal, where known"
    )

    def loss(self, view: PeerView) -> Tensor:
        scores_BC, y_BC = view.output.logits, view.targets
        drawn_C = view.output.features.get(DRAWN)
        loss = softmax_loss if self.loss_name == "softmax" else bpr_loss
        found = loss(scores_BC, y_BC, drawn_C)
        felt_I2 = view.output.features.get(EMOTION)
        peer = view.peer
        if self.emotion and felt_I2 is not None and isinstance(peer, Feels) and peer.felt_I.any():
            known_I2, there_I = peer.emotion_I2, peer.felt_I
            found = found + self.emotion * F.mse_loss(felt_I2[there_I], known_I2[there_I])
        return found

    def scored(self, output: PeerOutput) -> Tensor | None:
        return None


def softmax_loss(scores_BC: Tensor, y_BC: Tensor, drawn_C: Tensor | None = None) -> Tensor:
    """Mean over users of the mean over their positives of −log softmax; 0 for nobody's.

    Shapes:
        y_BC: 1 where a user listened.
        drawn_C: bool, the candidates that may be negatives; None: all.
    """
    if drawn_C is not None:
        scores_BC = scores_BC.masked_fill((y_BC == 0) & ~drawn_C, LEFT_OUT)
    each_B = -(scores_BC.log_softmax(1) * y_BC).sum(1) / y_BC.sum(1).clamp_min(1)
    return each_B.sum() / (y_BC.sum(1) > 0).sum().clamp_min(1)


def bpr_loss(scores_BC: Tensor, y_BC: Tensor, drawn_C: Tensor | None = None) -> Tensor:
    """Mean over pairs of a positive and a candidate that is none, a function of the batch alone.

    The n-th positive of a user is paired with the n-th of its other candidates, counted from a
    place that differs from user to user: candidates are drawn at random, so which does not matter.
    Shapes are those of `softmax_loss`.
    """
    user_N, positive_N = y_BC.nonzero().unbind(1)
    if not len(user_N):
        return 0 * scores_BC.sum()
    candidates = y_BC.shape[1]
    place_N = torch.arange(len(user_N), device=y_BC.device)
    step = max(candidates // 2, 1) + 1
    other_N = (positive_N + 1 + place_N * step) % candidates
    is_negative_N = y_BC[user_N, other_N] == 0
    if drawn_C is not None:
        is_negative_N = is_negative_N & drawn_C[other_N]
    apart_N = scores_BC[user_N, positive_N] - scores_BC[user_N, other_N]
    loss_N = F.softplus(-apart_N) * is_negative_N
    return loss_N.sum() / is_negative_N.sum().clamp_min(1)
