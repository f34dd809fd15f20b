"""What pairs of rows say: how alike they are, and whether they are predicted to be of one class.

Shape suffixes: M rows, C classes, D features.
"""

import torch.nn.functional as F
from torch import Tensor

from peerlearn.transfer.outputs import Schedule

EPS = 1e-7
"""Added under the logarithm, so that a pair which is certain has a finite loss."""


def cosine_similarities(features_MD: Tensor) -> Tensor:
    """Cosine of the angle between every two rows; a row of zeros is at 0 to all.

    Shapes:
        features_MD: (M, D); result: (M, M).
    """
    unit_MD = F.normalize(features_MD, dim=1)
    return unit_MD @ unit_MD.T


def pairwise_bce(p_MC: Tensor, q_MC: Tensor, same_MM: Tensor, eps: float = EPS) -> Tensor:
    """Binary cross-entropy of "rows i and j are of one class", mean over all ordered pairs.

    P_ij = ⟨p_i, q_j⟩, and the loss −s_ij log(P_ij + ε) − (1 − s_ij) log(1 − P_ij + ε). Han et al.,
    ICLR 2020, equation 2, where p and q are predictions for two views of the same rows. Without
    rows, 0.

    Args:
        p_MC: probabilities.
        q_MC: probabilities.
        same_MM: s, targets from 0 to 1, hard or soft.
        eps: ε.

    Shapes:
        p_MC, q_MC: (M, C); same_MM: (M, M), bool or float; result: scalar.
    """
    together_MM = _together(p_MC, q_MC)
    s_MM = same_MM.to(together_MM.dtype)
    apart_MM = 1 - together_MM
    loss = -(s_MM * (together_MM + eps).log() + (1 - s_MM) * (apart_MM + eps).log())
    return _mean(loss)


def pairwise_positive(p_MC: Tensor, q_MC: Tensor, same_MM: Tensor, eps: float = EPS) -> Tensor:
    """−s_ij log(P_ij + ε), mean over all ordered pairs: draws rows together, and none apart.

    Arguments and shapes as in `pairwise_bce`.
    """
    together_MM = _together(p_MC, q_MC)
    return _mean(-same_MM.to(together_MM.dtype) * (together_MM + eps).log())


def consistency(logits: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of two predictions of the same rows; gradients reach both.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017 (Π-model).

    Shapes:
        logits, other: (M, C); result: scalar, 0 without rows.
    """
    return _mean((F.softmax(logits, 1) - F.softmax(other, 1)).square())


def ramp_up(progress: float | None, weight: float, over: float) -> float:
    """w(r) = `weight` · exp(−5 (1 − min(r, R) / R)²): `weight` · e⁻⁵ at first, `weight` from R on.

    Args:
        progress: r, finished fraction of the stage; None for "the ramp is over".
        weight: λ.
        over: R, fraction of the stage; at 0 there is no ramp.
    """
    if progress is None or over == 0:
        return weight
    return Schedule(kind="sigmoid", over=over).at(progress, weight)


def _together(p_MC: Tensor, q_MC: Tensor) -> Tensor:
    """Probability that two rows are of one class; rounding may put a sum beyond 1."""
    return (p_MC @ q_MC.T).clamp(0, 1)


def _mean(cells: Tensor) -> Tensor:
    return cells.sum() / max(cells.numel(), 1)
