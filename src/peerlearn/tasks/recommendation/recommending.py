"""What a finished recommender suggests to whom, and who speaks for it.

Shape suffixes: B users, I items, N suggestions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError, did_you_mean
from peerlearn.modes import evaluating
from peerlearn.tasks.recommendation.data.dataset import Interactions, ItemLists
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.metrics.ensemble import ensemble_scores, standardised
from peerlearn.tasks.recommendation.metrics.ranking import NO_ITEM, top_items
from peerlearn.tasks.recommendation.models.propagation import SocialGraph
from peerlearn.transfer.knowledge.rankings import SERVED
from peerlearn.transfer.outputs import as_peer_output

AT_ONCE = 256
"""Users that are ranked for at once."""


class Suggestion(NamedTuple):
    """An item for a user.

    Attributes:
        user, item: their numbers.
        score: of the ensemble, or of the one peer that was asked; in standard deviations of the
            scores of the items that the user does not know.
        by: what each peer gives it, likewise.
        friends: friends of the user who listened to it.
    """

    user: int
    item: int
    score: float
    by: Mapping[str, float]
    friends: tuple[int, ...]


def user_numbers(ids: Sequence[str], info: RecommendationInfo) -> list[int]:
    """The numbers of users who are named by their ids.

    Raises InputError: an unknown one; says how many there are, and the nearest.
    """
    places = {name: number for number, name in enumerate(info.user_ids)}
    for name in ids:
        if name not in places:
            few = ", ".join(info.user_ids[:5])
            raise InputError(
                f"--user {name}: no user of the run has that id.{did_you_mean(name, places)} There "
                f"are {info.users:,}, such as {few}"
            )
    return [places[name] for name in ids]


def suggestions(
    peers: Mapping[str, nn.Module],
    graph: SocialGraph,
    users: Sequence[int],
    n: int,
    served_alone: bool = False,
) -> Iterator[list[Suggestion]]:
    """The best `n` items that a user did not listen to in training, for one user after the other.

    Args:
        peers: of the ensemble, or one alone.
        graph: who listened to what, and who knows whom.
        served_alone: an item is ranked by those peers that it is served by.

    Raises InputError: `n` is below 1.
    """
    if n < 1:
        raise InputError(f"--n {n}; allowed: 1 or more")
    heard_sets = [set(each) for each in heard_by(graph)]
    knows, seen = friends_of(graph), seen_in_training(graph)
    for start in range(0, len(users), AT_ONCE):
        chunk = list(users[start : start + AT_ONCE])
        users_B = torch.tensor(chunk)
        seen_2P = seen.pairs(users_B)
        scores, there = _scored(peers, users_B)
        all_serve = {name: torch.ones_like(each) for name, each in there.items()}
        total_BI = ensemble_scores(scores, there if served_alone else all_serve, seen_2P)
        unseen_BI = torch.ones_like(total_BI)
        unseen_BI[seen_2P[0], seen_2P[1]] = 0
        by = {name: standardised(s, unseen_BI, all_serve[name]) for name, s in scores.items()}
        items_BN = top_items(total_BI, seen_2P, min(n, total_BI.shape[1]))  # as is measured
        for row, user in enumerate(chunk):
            yield [
                Suggestion(
                    user,
                    item,
                    float(total_BI[row, item]),
                    {name: float(z_BI[row, item]) for name, z_BI in by.items()},
                    tuple(friend for friend in knows[user] if item in heard_sets[friend]),
                )
                for item in items_BN[row].tolist()
                if item != NO_ITEM
            ]


@torch.no_grad()
def _scored(
    peers: Mapping[str, nn.Module], users_B: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores of all items (B, I) by peer, and which of them it serves, bool (I,)."""
    scores, there = {}, {}
    with evaluating(nn.ModuleList(peers.values())):
        for name, peer in peers.items():
            device = next(peer.buffers()).device
            output = as_peer_output(peer(RankingInput(users_B.to(device))), name)
            scores[name] = output.logits.float().cpu()
            served = output.features.get(SERVED, torch.ones(output.logits.shape[1]).bool())
            there[name] = served.cpu()
    return scores, there


def seen_in_training(graph: SocialGraph) -> ItemLists:
    """The items of every user that are not suggested again."""
    user, item = graph.interactions.cpu()
    return ItemLists.of(graph.users, Interactions(user, item, torch.ones(len(user))))


def heard_by(graph: SocialGraph) -> list[list[int]]:
    """The items of every user in training."""
    return _lists(graph.interactions, graph.users)


def friends_of(graph: SocialGraph) -> list[list[int]]:
    """The friends of every user."""
    both = torch.cat([graph.friends, graph.friends.flip(0)], 1)
    return [sorted(each) for each in _lists(both, graph.users)]


def _lists(pairs_2N: Tensor, users: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(users)]
    for user, item in pairs_2N.T.tolist():
        found[user].append(item)
    return found
