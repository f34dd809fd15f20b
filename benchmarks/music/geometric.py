"""torch-geometric's LightGCN in the loop of its documentation (examples/lightgcn.py).

Shape suffixes: U users, I items, N interactions, B pairs of a batch.
"""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import LightGCN

from peerlearn.tasks.recommendation.data.dataset import Interactions

K = 20


class Loop:
    """Training epochs and evaluations, one after the other."""

    def __init__(
        self,
        train: Interactions,
        val: Interactions,
        users: int,
        items: int,
        batch: int,
        **size: Any,
    ) -> None:
        """`size`: embedding_dim, num_layers. `batch`: pairs of one step."""
        self.users, self.batch = users, batch
        self.pairs_2N = torch.stack([train.user, train.item + users])
        self.edges_2E = torch.cat([self.pairs_2N, self.pairs_2N.flip(0)], 1)
        self.val, self.items = val, items
        self.model = LightGCN(users + items, **size)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.001)

    def epoch(self) -> None:
        """Every pair once, each with one item drawn from all."""
        for index in torch.randperm(self.pairs_2N.shape[1]).split(self.batch):
            positive_2B = self.pairs_2N[:, index]
            drawn_B = torch.randint(self.users, self.users + self.items, (len(index),))
            negative_2B = torch.stack([positive_2B[0], drawn_B])
            both = torch.cat([positive_2B, negative_2B], 1)
            self.optimiser.zero_grad()
            positive, negative = self.model(self.edges_2E, both).chunk(2)
            loss: Tensor = self.model.recommendation_loss(positive, negative, node_id=both.unique())
            loss.backward()
            self.optimiser.step()

    @torch.no_grad()
    def evaluate(self, at_once: int = 512) -> tuple[float, float]:
        """Precision and recall at `K` of what users want, training pairs left out."""
        embedding = self.model.get_embedding(self.edges_2E)
        user, item = embedding[: self.users], embedding[self.users :]
        precision = recall = measured = 0.0
        for start in range(0, self.users, at_once):
            end = min(start + at_once, self.users)
            scores = user[start:end] @ item.t()
            here = (self.pairs_2N[0] >= start) & (self.pairs_2N[0] < end)
            seen = self.pairs_2N[:, here]
            scores[seen[0] - start, seen[1] - self.users] = float("-inf")
            wants = torch.zeros_like(scores, dtype=torch.bool)
            here = (self.val.user >= start) & (self.val.user < end)
            wants[self.val.user[here] - start, self.val.item[here]] = True
            count = wants.sum(1)
            hit = wants.gather(1, scores.topk(min(K, self.items)).indices).sum(1)
            precision += float((hit / K)[count > 0].sum())
            recall += float((hit / count.clamp_min(1)).sum())
            measured += float((count > 0).sum())
        return precision / max(measured, 1), recall / max(measured, 1)

    @torch.no_grad()
    def scores(self) -> Tensor:
        """Of all items for all users, float32 (U, I)."""
        user, item = self.model.get_embedding(self.edges_2E).split([self.users, self.items])
        made: Tensor = user @ item.t()
        return made
