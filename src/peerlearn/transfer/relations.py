"""Relation knowledge: how alike a row is to others, whatever the space that a peer sees them in.

One way: Fang et al., "SEED: Self-supervised Distillation for Visual Representation", ICLR 2021.
Both ways, with another view of the row beside the others: Zhao & Han, "Novel Visual Category
Discovery with Dual Ranking Statistics and Mutual Knowledge Distillation", NeurIPS 2021.

Shape suffixes: R rows, M slots of the memory, C units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_vectors(feature: Tensor) -> Tensor:
    """Rows of length 1, in fp32; maps count as their mean over positions.

    Shapes:
        feature: (R, C) or (R, C, H, W); result: (R, C)
    """
    vectors = feature.float()
    return F.normalize(vectors.flatten(2).mean(2) if vectors.ndim > 2 else vectors, dim=1)


def similarity_log_probs(
    query_RC: Tensor, memory_MC: Tensor, temperature: float, pair_RC: Tensor | None = None
) -> Tensor:
    """`log softmax([⟨q, k⟩,] ⟨q, Q₁⟩, …, ⟨q, Q_M⟩ over τ)`: a row's similarity distribution.

    Args:
        query_RC: q, unit vectors.
        memory_MC: Q, unit vectors of earlier rows.
        temperature: τ.
        pair_RC: k, another view of every row; None leaves the first entry out.

    Shapes:
        result: (R, M), or (R, 1 + M) with `pair_RC`
    """
    similarity = query_RC @ memory_MC.T
    if pair_RC is not None:
        own_R1 = (query_RC * pair_RC).sum(1, keepdim=True)
        similarity = torch.cat([own_R1, similarity], dim=1)
    return F.log_softmax(similarity / temperature, dim=1)
