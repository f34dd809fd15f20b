"""A branch: a complete recommender that knows items by one modality, or by none.

Branches share no parameter and no feature (fusion-free): what they learn of each other goes
through edges about rankings. Re-derived from the public abstract of Ziaoddini, arXiv 2511.05497;
dimensions, layers and everything named by an option are ours.

Shape suffixes: U users, I items, B users of a batch, C candidates, D units, F features.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.models.propagation import SocialGraph, propagated
from peerlearn.tasks.recommendation.objectives import DRAWN, EMOTION
from peerlearn.transfer.knowledge.rankings import SERVED
from peerlearn.transfer.outputs import PeerOutput

Scores = Literal["cosine", "dot"]


class Content(nn.Module):
    """What items are like in one modality, and how it becomes a part of their embeddings.

    Args:
        items, width: of the table of features.
        dim: units of an embedding.
        hidden: units of a layer between; 0 for a linear map.
        dropout: share of items whose features are hidden in a training step, anew in each.

    Shapes of buffers:
        x_IF: float32 (I, F), zeros where there is nothing; there_I: bool (I,).
    """

    x_IF: Tensor
    there_I: Tensor

    def __init__(self, items: int, width: int, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("x_IF", torch.zeros(items, width))
        self.register_buffer("there_I", torch.zeros(items, dtype=torch.bool))
        self.dropout = dropout
        self.encode: nn.Module = nn.Linear(width, dim)
        if hidden:
            self.encode = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def fill(self, x_IF: Tensor, there_I: Tensor) -> None:
        """Take the features of data."""
        self.x_IF.copy_(x_IF)
        self.there_I.copy_(there_I)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Embeddings (I, D), zeros where there is nothing, and which items have some, bool (I,)."""
        there_I = self.there_I
        if self.training and self.dropout:
            there_I = there_I & (torch.rand(len(there_I), device=there_I.device) >= self.dropout)
        return self.encode(self.x_IF) * there_I.unsqueeze(1), there_I


class Embedded(nn.Module):
    """Scores by the embeddings of users and items, whatever they are made of.

    Args:
        graph: interactions and friendships.
        scores: cosine, divided by `temperature`, or dot products.
        negatives: share of the negatives of a batch that it learns from, drawn anew in every step.
    """

    def __init__(
        self, graph: SocialGraph, scores: Scores, temperature: float, negatives: float = 1.0
    ) -> None:
        super().__init__()
        self.graph, self.scores, self.temperature = graph, scores, temperature
        self.negatives = negatives
        self.content: Content | None = None
        self._kept: tuple[object, Embeddings] | None = None

    def embeddings(self) -> "Embeddings":
        """Of all users and items."""
        raise NotImplementedError

    def forward(self, x: RankingInput) -> PeerOutput:
        """Scores (B, C) of the candidates, and which of them the branch serves, bool (C,)."""
        device = self.graph.interactions.device
        with torch.autocast(device.type, enabled=False):  # sparse products are in fp32
            made = self._as_they_are()
            user_BD, item_CD, there_C = made.user_UD[x.users], made.item_ID, made.there_I
            if x.candidates is not None:
                item_CD, there_C = item_CD[x.candidates], there_C[x.candidates]
            if self.scores == "cosine":
                user_BD = F.normalize(user_BD, dim=1) / self.temperature
                item_CD = F.normalize(item_CD, dim=1)
            features = {SERVED: there_C}
            if self.training and self.negatives < 1:
                features[DRAWN] = torch.rand(len(item_CD), device=device) < self.negatives
            if made.felt_I2 is not None:
                features[EMOTION] = made.felt_I2
            return PeerOutput(user_BD @ item_CD.T, features)

    def _as_they_are(self) -> "Embeddings":
        """`embeddings`, propagated once for all users who are ranked for by the same weights."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._kept = None
            return self.embeddings()
        own = (*self.parameters(), *self.buffers())
        state = tuple((id(each), each.data_ptr(), each._version) for each in own)
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self.embeddings()
        return self._kept[1]


class Embeddings(NamedTuple):
    """Of all users (U, D) and items (I, D).

    `there_I` says which items are served; `felt_I2` is their valence and arousal in [−1, 1], where
    they are predicted.
    """

    user_UD: Tensor
    item_ID: Tensor
    there_I: Tensor
    felt_I2: Tensor | None = None


class Branch(Embedded):
    """Scores of items for users, by who listens to what, who knows whom and one modality.

    Args:
        graph: interactions and friendships.
        content: of items; None for a branch of ids alone.
        dim, layers, alpha: of the propagation.
        scores, temperature, negatives: see `Embedded`.
        emotion: whether a branch with content predicts valence and arousal (I, 2) of items from
            it, and adds what they are worth to their embeddings. What is known of them is in the
            buffers emotion_I2, and felt_I says of which items.
    """

    emotion_I2: Tensor
    felt_I: Tensor

    def __init__(
        self,
        graph: SocialGraph,
        content: Content | None,
        *,
        dim: int,
        layers: int,
        alpha: float,
        scores: Scores,
        temperature: float,
        negatives: float,
        emotion: bool,
    ) -> None:
        super().__init__(graph, scores, temperature, negatives)
        self.content, self.layers, self.alpha = content, layers, alpha
        self.user_UD = nn.Parameter(0.1 * torch.randn(graph.users, dim))
        self.item_ID = nn.Parameter(0.1 * torch.randn(graph.items, dim))
        self.feels = self.worth = None
        if emotion and content is not None:
            self.feels = nn.Linear(dim, 2)
            self.worth = nn.Linear(2, dim, bias=False)
            self.register_buffer("emotion_I2", torch.zeros(graph.items, 2))
            self.register_buffer("felt_I", torch.zeros(graph.items, dtype=torch.bool))

    def embeddings(self) -> Embeddings:
        felt_I2: Tensor | None = None
        item_ID: Tensor = self.item_ID
        there_I = torch.ones(len(item_ID), dtype=torch.bool, device=item_ID.device)
        if self.content is not None:
            content_ID, there_I = self.content()
            item_ID = item_ID + content_ID
            if self.feels is not None and self.worth is not None:
                felt_I2 = self.feels(content_ID).tanh()
                item_ID = item_ID + self.worth(felt_I2) * there_I.unsqueeze(1)
        user_UD, item_ID = propagated(self.graph, self.user_UD, item_ID, self.layers, self.alpha)
        return Embeddings(user_UD, item_ID, there_I, felt_I2)
