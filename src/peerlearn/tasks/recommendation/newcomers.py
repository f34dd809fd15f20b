"""Users and items that a recommender has not been trained with, and what was listened to since.

Nothing is trained: who came later takes their place in the graph, and gets as an embedding of their
own the mean of those who listened to the same, by two steps over the normalised graph, of the usual
length. So do items, by what their listeners listened to; an item that came later has no modality.
With an embedding of 0, LightGCN served newcomers on Last.fm far worse. What is computed in closed
form is computed anew.

Shape suffixes: U users, I items, D units, N interactions, E friendships.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.delimited import read_columns
from peerlearn.tasks.recommendation.data.friends import COLUMNS as FRIENDS
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.models.branch import Branch
from peerlearn.tasks.recommendation.models.closed_form import ClosedForm
from peerlearn.tasks.recommendation.models.ngcf import NGCF
from peerlearn.tasks.recommendation.models.propagation import SocialGraph

PAIRS = ("user", "item")


@dataclass(frozen=True)
class Since:
    """What has come since a recommender was trained.

    Attributes:
        info: with the users and items that are new behind the others.
        pairs_2N, friends_2E: int64, all that there are now, each once.
    """

    info: RecommendationInfo
    pairs_2N: Tensor
    friends_2E: Tensor

    def graph(self) -> SocialGraph:
        """All users, items, interactions and friendships as they are now."""
        sizes = self.pairs_2N.shape[1], self.friends_2E.shape[1]
        made = SocialGraph(self.info.users, self.info.classes, *sizes)
        made.fill(self.pairs_2N, self.friends_2E)
        return made


def read_since(
    info: RecommendationInfo, graph: SocialGraph, pairs: Path | None, friends: Path | None
) -> Since:
    """What the two files say beside what the recommender knows.

    Args:
        info, graph: of the recommender.
        pairs: csv with the columns user and item; who or what is not known is new.
        friends: csv with the columns user and friend, of users that are known or in `pairs`.

    Raises InputError: no such file or column, or a friend whom nobody knows; names file and line.
    """
    users, items = list(info.user_ids), list(info.class_names)
    listened, known = graph.interactions.cpu(), graph.friends.cpu()
    if pairs is not None:
        table = read_columns(pairs, PAIRS)
        columns = [
            _numbered(table.texts(n), names) for n, names in zip(PAIRS, (users, items), strict=True)
        ]
        listened = torch.cat([listened, torch.tensor(columns)], 1).unique(dim=1)
    if friends is not None:
        table = read_columns(friends, FRIENDS)
        place = {name: number for number, name in enumerate(users)}
        ends: list[list[int]] = []
        for title in FRIENDS:
            for row, name in enumerate(said := table.texts(title)):
                if name not in place:
                    raise InputError(
                        f"{friends}, row {row + 1}: {title} {name!r} is no user of the run, and "
                        "listens to nothing in --pairs; leave the row away"
                    )
            ends.append([place[name] for name in said])
        both = torch.tensor(ends).sort(0).values
        both = both[:, both[0] != both[1]]  # nobody is a friend of their own
        known = torch.cat([known.sort(0).values, both], 1).unique(dim=1)
    names = (*info.item_names, *items[info.classes :])
    told = {
        "users": len(users), "classes": len(items), "user_ids": tuple(users),
        "class_names": tuple(items), "item_names": names,
        "interactions": listened.shape[1], "friendships": known.shape[1],
    }  # fmt: skip
    return Since(info.model_copy(update=told), listened, known)


def _numbered(found: Sequence[str], names: list[str]) -> list[int]:
    """The number of each; those without one get the next, and their names are added."""
    place = {name: number for number, name in enumerate(names)}
    for name in found:
        if name not in place:
            place[name] = len(names)
            names.append(name)
    return [place[name] for name in found]


def with_newcomers(peers: Mapping[str, nn.Module], since: Since) -> dict[str, nn.Module]:
    """Recommenders that know what has come since; the given ones stay as they are."""
    return {name: _extended(peer, since) for name, peer in peers.items()}


@torch.no_grad()
def _extended(peer: nn.Module, since: Since) -> nn.Module:
    graph = since.graph().to(next(peer.buffers()).device)
    if isinstance(peer, ClosedForm):
        computed = peer.anew(graph)
        computed.fit()
        return computed
    assert isinstance(peer, Branch | NGCF)
    made = copy.deepcopy(peer)
    made.graph = graph
    listening, listened = graph.listening()
    made.user_UD = nn.Parameter(_like_others(peer.user_UD, listening, listened))
    made.item_ID = nn.Parameter(_like_others(peer.item_ID, listened, listening))
    for module, name in (
        (made.content, "x_IF"),
        (made.content, "there_I"),
        (made, "emotion_I2"),
        (made, "felt_I"),
    ):
        if isinstance(known := getattr(module, name, None), Tensor):
            setattr(module, name, _longer(known, graph.items))
    return made


def _like_others(own: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """Embeddings with those of newcomers behind; `there` and `back` are a normalised graph."""
    known, all_of_them = len(own), _longer(own, there.shape[0])
    like = there @ (back @ all_of_them)
    all_of_them[known:] = own.norm(dim=1).mean() * F.normalize(like[known:], dim=1)
    return all_of_them


def _longer(tensor: Tensor, count: int) -> Tensor:
    """With rows of 0 behind the others, up to so many."""
    more = tensor.new_zeros(count - len(tensor), *tensor.shape[1:])
    return torch.cat([tensor.detach(), more])
