"""Equal shares: soft assignments of rows to clusters in which every cluster gets as many rows.

Shapes: M rows, K clusters.
"""

import torch
from torch import Tensor


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Sinkhorn-Knopp: exp(scores / ε), its columns and then its rows scaled to equal sums, again.

    Rows of the result sum to 1; columns to M / K the more nearly, the more iterations. Cuturi,
    "Sinkhorn Distances", NeurIPS 2013; as targets of clustering: Caron et al. (SwAV), NeurIPS 2020,
    and Fini et al. (UNO), ICCV 2021. In fp32 and by logarithms: a cluster that no row comes near
    does not underflow.

    Args:
        scores: how well rows fit clusters, such as cosines.
        epsilon: smaller gives harder assignments.
        iterations: of columns and rows.

    Shapes:
        scores: (..., M, K); result: the same, fp32, without gradient.
    """
    log_q = scores.float() / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(-2, keepdim=True)
        log_q = log_q - log_q.logsumexp(-1, keepdim=True)
    return log_q.exp()
