"""Recommenders by name."""

from typing import Annotated, Any

from pydantic import Field

from peerlearn.errors import InputError, unknown_name
from peerlearn.models.arguments import Count, Factor, Rate, Share, Size, SomeShare, Units, Weight
from peerlearn.models.registry import Models
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.data.raw import ALL, BESIDE, NONE
from peerlearn.tasks.recommendation.models.branch import Branch, Content, Scores
from peerlearn.tasks.recommendation.models.closed_form import (
    Ease,
    FriendsPopularity,
    ItemNeighbours,
    Popularity,
)
from peerlearn.tasks.recommendation.models.ngcf import NGCF
from peerlearn.tasks.recommendation.models.propagation import SocialGraph

Ridge = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


def branch(
    info: RecommendationInfo,
    classes: int,
    *,
    modality: str = "none",
    dim: Count = 64,
    layers: Units = 3,
    alpha: Share = 0.5,
    hidden: Size = 0,
    dropout: Rate = 0.0,
    scores: Scores = "cosine",
    temperature: Factor = 0.12,
    negatives: SomeShare = 1.0,
    emotion: bool = False,
) -> Branch:
    """Propagation over listening and friendships, with items known by one modality.

    Args:
        modality: a name of the data's; none: ids alone; lyrics+audio: features side by side
            (fusion by concatenation), of items that have any of them; all: all of them.
        dim: units of an embedding.
        layers: rounds of propagation; 0: none (matrix factorisation).
        alpha: share of friends in what users become, in [0, 1]; 0: LightGCN.
        hidden: units between features and embeddings; 0: a linear map.
        dropout: share of items whose features are hidden in a training step.
        scores: cosine or dot.
        temperature: what cosines are divided by.
        negatives: share of the negatives of a batch that this branch learns from, drawn anew in
            every step and for every branch, in (0, 1].
        emotion: predict valence and arousal from the modality, and use them.
    """
    names = modalities(modality, info)
    width = sum(info.modalities[name] for name in names)
    content = Content(classes, width, dim, hidden, dropout) if names else None
    shape: dict[str, Any] = {"dim": dim, "layers": layers, "alpha": alpha, "scores": scores}
    shape |= {"temperature": temperature, "negatives": negatives}
    return Branch(graph_of(info), content, emotion=emotion and info.emotion, **shape)


def ngcf(
    info: RecommendationInfo,
    classes: int,
    *,
    dim: Count = 64,
    layers: Units = 3,
    dropout: Rate = 0.1,
    scores: Scores = "dot",
    temperature: Factor = 1.0,
) -> NGCF:
    """Neural graph collaborative filtering (Wang et al. 2019)."""
    shape: dict[str, Any] = {"dim": dim, "layers": layers, "dropout": dropout, "scores": scores}
    return NGCF(graph_of(info), temperature=temperature, **shape)


def popularity(info: RecommendationInfo, classes: int) -> Popularity:
    """How many users listened to an item; computed, not trained."""
    return Popularity(graph_of(info))


def friends_popularity(info: RecommendationInfo, classes: int) -> FriendsPopularity:
    """How many of a user's friends listened to an item; computed, not trained."""
    return FriendsPopularity(graph_of(info))


def item_knn(info: RecommendationInfo, classes: int) -> ItemNeighbours:
    """Cosines of items by who heard them, all neighbours; computed, not trained."""
    return ItemNeighbours(graph_of(info))


def ease(
    info: RecommendationInfo,
    classes: int,
    *,
    regularisation: Ridge = 100.0,
    friends: Weight = 0.0,
) -> Ease:
    """EASE (Steck 2019), a linear autoencoder in closed form; computed, not trained.

    Args:
        regularisation: λ of the ridge.
        friends: weight of who knows whom as further columns; 0: none.
    """
    return Ease(graph_of(info), regularisation, friends)


def graph_of(info: RecommendationInfo) -> SocialGraph:
    """The graph of data, empty."""
    return SocialGraph(info.users, info.classes, info.interactions, info.friendships)


def modalities(named: str, info: RecommendationInfo) -> list[str]:
    """What `modality` names: none, one, all, or several put side by side, `lyrics+audio`.

    Raises InputError: one that the data do not have.
    """
    if named in (NONE, ALL):
        return list(info.modalities) if named == ALL else []
    names = named.split(BESIDE)
    for name in names:
        if name in (NONE, ALL):
            raise InputError(
                f"arguments.modality: {named!r} puts {name!r} beside others; it stands alone"
            )
        if name not in info.modalities:
            known = [NONE, ALL, *info.modalities]
            raise unknown_name("modality", name, known, "arguments.modality")
        if names.count(name) > 1:
            raise InputError(f"arguments.modality: {named!r} has {name!r} twice; once is enough")
    return names


def _check(info: Any, model: str, field: str) -> RecommendationInfo:
    if not isinstance(info, RecommendationInfo):
        raise InputError(f"{field}: {model!r} recommends items; found {type(info).__name__}")
    return info


RECOMMENDERS = Models(
    *(branch, ngcf, popularity, friends_popularity, item_knn, ease),
    sample="info",
    check_sample=_check,
)
