"""Wang, He, Wang, Feng, Chua, "Neural Graph Collaborative Filtering", SIGIR 2019, equations 3 to 7.

    e^(l+1) = LeakyReLU(W₁ (e + Â e) + W₂ (Â e ∘ e)),  Â the normalised graph of users and items

The result is all layers side by side, each of length 1 but the first.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.tasks.recommendation.models.branch import Embedded, Embeddings, Scores
from peerlearn.tasks.recommendation.models.propagation import SocialGraph, product

SLOPE = 0.2


class NGCF(Embedded):
    """Embeddings that pass through weights and a non-linearity in every round."""

    def __init__(
        self,
        graph: SocialGraph,
        *,
        dim: int,
        layers: int,
        dropout: float,
        scores: Scores,
        temperature: float,
    ) -> None:
        super().__init__(graph, scores, temperature)
        self.user_UD = nn.Parameter(0.1 * torch.randn(graph.users, dim))
        self.item_ID = nn.Parameter(0.1 * torch.randn(graph.items, dim))
        self.sums = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.products = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.dropout = dropout

    def embeddings(self) -> Embeddings:
        listening, listened = self.graph.listening()
        user_UD: Tensor = self.user_UD
        item_ID: Tensor = self.item_ID
        users, items = [user_UD], [item_ID]
        for sums, products in zip(self.sums, self.products, strict=True):
            told_UD = product(listening, listened, item_ID)
            told_ID = product(listened, listening, user_UD)
            user_UD, item_ID = (
                F.dropout(
                    F.leaky_relu(sums(own + told) + products(told * own), SLOPE),
                    self.dropout,
                    self.training,
                )
                for own, told in ((user_UD, told_UD), (item_ID, told_ID))
            )
            users.append(F.normalize(user_UD, dim=1))
            items.append(F.normalize(item_ID, dim=1))
        there_I = torch.ones(self.graph.items, dtype=torch.bool, device=item_ID.device)
        return Embeddings(torch.cat(users, 1), torch.cat(items, 1), there_I)
