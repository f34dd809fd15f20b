"""Recommenders in closed form, against their definitions on a graph of a few users."""

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.models.closed_form import (
    Ease,
    FriendsPopularity,
    ItemNeighbours,
    Popularity,
)
from peerlearn.tasks.recommendation.models.propagation import SocialGraph

USERS, ITEMS = 6, 5
HEARD = torch.tensor([[0, 0, 1, 1, 2, 3, 3, 3, 4], [0, 1, 1, 2, 2, 0, 1, 3, 3]])
FRIENDS = torch.tensor([[0, 0, 3], [1, 2, 4]])
EVERYBODY = RankingInput(torch.arange(USERS))


def graph() -> SocialGraph:
    made = SocialGraph(USERS, ITEMS, HEARD.shape[1], FRIENDS.shape[1])
    made.fill(HEARD, FRIENDS)
    return made


def dense() -> torch.Tensor:
    x = torch.zeros(USERS, ITEMS)
    x[HEARD[0], HEARD[1]] = 1
    return x


def test_popularity_counts_listeners_and_friends_count_their_own() -> None:
    x = dense()
    found = Popularity(graph())(EVERYBODY).logits
    assert torch.equal(found, x.sum(0).expand(USERS, -1))
    know = torch.zeros(USERS, USERS)
    know[FRIENDS[0], FRIENDS[1]] = know[FRIENDS[1], FRIENDS[0]] = 1
    some = RankingInput(torch.tensor([2, 0]), torch.tensor([3, 1]))
    popular = x.sum(0) / (x.sum(0).max() + 1)
    expected = (know @ x + popular)[[2, 0]][:, [3, 1]]
    torch.testing.assert_close(FriendsPopularity(graph())(some).logits, expected)


def test_neighbours_are_weighed_by_the_cosine_of_who_heard_them() -> None:
    x = dense()
    norms = x.norm(dim=0).clamp_min(1)
    cosine = (x.T @ x) / (norms[:, None] * norms)
    cosine.fill_diagonal_(0)
    torch.testing.assert_close(ItemNeighbours(graph())(EVERYBODY).logits, x @ cosine)


@pytest.mark.parametrize("regularisation", [0.5, 10.0])
def test_ease_equals_its_definition_by_items(regularisation: float) -> None:
    x = dense().double()
    p = torch.linalg.inv(x.T @ x + regularisation * torch.eye(ITEMS))
    b = torch.eye(ITEMS) - p / p.diagonal()
    assert b.diagonal().abs().max() < 1e-12
    made = Ease(graph(), regularisation)
    made.fit()
    torch.testing.assert_close(made(EVERYBODY).logits.double(), x @ b, rtol=1e-4, atol=1e-5)
    again = Ease(graph(), regularisation)
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(EVERYBODY).logits, made(EVERYBODY).logits)
    with pytest.raises(InputError, match=r"regularisation 0 and friends 0; allowed: above 0"):
        Ease(graph(), 0)


def test_ease_may_foretell_items_from_friends_too() -> None:
    x, weight, ridge = dense().double(), 0.5, 2.0
    know = torch.zeros(USERS, USERS, dtype=torch.float64)
    know[FRIENDS[0], FRIENDS[1]] = know[FRIENDS[1], FRIENDS[0]] = 1
    both = torch.cat([x, weight * know], 1)
    p = torch.linalg.inv(both.T @ both + ridge * torch.eye(both.shape[1]))
    b = torch.eye(both.shape[1]) - p / p.diagonal()
    made = Ease(graph(), ridge, weight)
    made.fit()
    expected = (both @ b)[:, :ITEMS]
    torch.testing.assert_close(made(EVERYBODY).logits.double(), expected, rtol=1e-4, atol=1e-5)
