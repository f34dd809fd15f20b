"""Users and items that a recommender has not been trained with, and what was listened to since.

Nothing is trained: who came later stands in the graph, with an embedding of 0 of their own, so that
they are what propagation makes of what they listened to, of whom they know, and of who listens. An
item that came later has no modality; a branch knows it by who listens to it. What is computed in
closed form is computed anew.

Shape suffixes: U users, I items, D units, N interactions, E friendships.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.delimited import read_columns
from peerlearn.tasks.recommendation.data.friends import COLUMNS as FRIENDS
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.models.branch import Embedded
from peerlearn.tasks.recommendation.models.closed_form import ClosedForm
from peerlearn.tasks.recommendation.models.propagation import SocialGraph

PAIRS = ("user", "item")
BY_USER = frozenset({"user_UD"})
BY_ITEM = frozenset({"item_ID", "emotion_I2", "felt_I", "content.x_IF", "content.there_I"})
"""Tensors of `Embedded` recommenders that have a row for each."""


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
    device = next(peer.buffers()).device
    graph = since.graph().to(device)
    assert isinstance(peer, Embedded | ClosedForm)
    if isinstance(peer, ClosedForm):
        computed = peer.anew(graph)
        computed.fit()
        return computed
    made = copy.deepcopy(peer)
    made.graph = graph
    counts = {**dict.fromkeys(BY_USER, graph.users), **dict.fromkeys(BY_ITEM, graph.items)}
    for path, count in counts.items():
        holder, _, name = path.rpartition(".")
        module: Any = made.get_submodule(holder) if _has(made, holder) else None
        tensor = getattr(module, name, None)
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, nn.Parameter(_longer(tensor, count)))
        elif isinstance(tensor, Tensor):
            setattr(module, name, _longer(tensor, count))
    return made


def _has(module: nn.Module, holder: str) -> bool:
    return not holder or getattr(module, holder, None) is not None


def _longer(tensor: Tensor, count: int) -> Tensor:
    """With rows of 0 behind the others, up to so many."""
    more = tensor.new_zeros(count - len(tensor), *tensor.shape[1:])
    return torch.cat([tensor.detach(), more])
