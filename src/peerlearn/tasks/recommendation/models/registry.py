"""Recommenders by name."""

from typing import Any

from peerlearn.errors import InputError, unknown_name
from peerlearn.models.arguments import Count
from peerlearn.models.registry import Models
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.models.branch import Branch, Content, Scores
from peerlearn.tasks.recommendation.models.propagation import SocialGraph


def branch(
    info: RecommendationInfo,
    classes: int,
    *,
    modality: str = "none",
    dim: Count = 64,
    layers: int = 3,
    alpha: float = 0.5,
    hidden: int = 0,
    dropout: float = 0.0,
    scores: Scores = "cosine",
    temperature: float = 0.12,
    emotion: bool = False,
) -> Branch:
    """Propagation over listening and friendships, with items known by one modality.

    Args:
        modality: a name of the data's; none: ids alone.
        dim: units of an embedding.
        layers: rounds of propagation; 0: none (matrix factorisation).
        alpha: share of friends in what users become, in [0, 1]; 0: LightGCN.
        hidden: units between features and embeddings; 0: a linear map.
        dropout: share of items whose features are hidden in a training step.
        scores: cosine or dot.
        temperature: what cosines are divided by.
        emotion: predict valence and arousal from the modality, and use them.
    """
    if modality != "none" and modality not in info.modalities:
        raise unknown_name("modality", modality, ["none", *info.modalities], "arguments.modality")
    if not 0 <= alpha <= 1:
        raise InputError(f"arguments.alpha: found {alpha:g}; allowed: 0 to 1")
    if layers < 0 or not 0 <= dropout < 1 or temperature <= 0:
        raise InputError("arguments: layers from 0 on, dropout in [0, 1), temperature above 0")
    graph = SocialGraph(info.users, classes, info.interactions, info.friendships)
    content = None
    if modality != "none":
        content = Content(classes, info.modalities[modality], dim, hidden, dropout)
    shape: dict[str, Any] = {"dim": dim, "layers": layers, "alpha": alpha, "scores": scores}
    felt = emotion and info.emotion
    return Branch(graph, content, temperature=temperature, emotion=felt, **shape)


def _check(info: Any, model: str, field: str) -> RecommendationInfo:
    if not isinstance(info, RecommendationInfo):
        raise InputError(f"{field}: {model!r} recommends items; found {type(info).__name__}")
    return info


RECOMMENDERS = Models(branch, sample="info", check_sample=_check)
