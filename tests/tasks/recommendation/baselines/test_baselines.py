"""Baselines against their equations, on toys."""

import math

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.baselines import item_knn
from peerlearn.tasks.recommendation.baselines.ease import EASE
from peerlearn.tasks.recommendation.baselines.friends import FriendsPopularity
from peerlearn.tasks.recommendation.baselines.item_knn import ItemKNN
from peerlearn.tasks.recommendation.baselines.popularity import Popularity
from peerlearn.tasks.recommendation.baselines.scorer import (
    assess_scorers,
    friend_matrix,
    interaction_matrix,
)
from peerlearn.tasks.recommendation.data.dataset import Interactions
from peerlearn.tasks.recommendation.metrics.assessment import RankingAssessment
from peerlearn.tasks.recommendation.metrics.wanted import ItemLists

#: Users by items: item 4 is nobody's, user 3 has nothing.
R = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]], np.float64)
USERS, ITEMS = R.shape
EVERYBODY = torch.arange(USERS)
#: Users 0 and 1 are friends, and 1 and 2.
FRIENDS = torch.tensor([[0, 1], [1, 2]])
S = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float64)


def interactions(r, count=3.0):
    user, item = map(torch.from_numpy, np.nonzero(r))
    return Interactions(user, item, torch.full((len(user),), count))


def random_r(users=12, items=9, seed=0):
    return (np.random.default_rng(seed).random((users, items)) < 0.35).astype(np.float64)


TRAIN = interactions(R)


def test_matrices_hold_ones_however_often_a_pair_is_there():
    assert np.array_equal(interaction_matrix(TRAIN, USERS, ITEMS).toarray(), R)
    twice = torch.cat([FRIENDS, FRIENDS.flip(0)], 1)
    for friends in (FRIENDS, twice):
        assert np.array_equal(friend_matrix(friends, USERS).toarray(), S)


def test_popularity_is_how_many_listen():
    found = Popularity(TRAIN, ITEMS).scores(torch.tensor([2, 0]))
    assert found.tolist() == [[3, 2, 1, 1, 0]] * 2 and found.dtype == torch.float32


def test_friends_are_counted():
    found = FriendsPopularity(TRAIN, FRIENDS, USERS, ITEMS).scores(EVERYBODY)
    assert found.floor().tolist() == (S @ R).tolist() and found.dtype == torch.float32
    assert found[1].floor().tolist() == [2, 2, 0, 1, 0]


def test_what_as_many_friends_listen_to_is_ranked_by_popularity():
    found = FriendsPopularity(TRAIN, FRIENDS, USERS, ITEMS).scores(EVERYBODY)
    assert found[3].tolist() == pytest.approx([3 / 4, 2 / 4, 1 / 4, 1 / 4, 0]), "without friends"
    # Friends of user 1 listen twice to items 0 and 1, which 3 and 2 users listen to.
    assert found[1].argsort(descending=True)[:3].tolist() == [0, 1, 3]


def cosines(r):
    """Of different columns; 0 with one of zeros."""
    length = np.linalg.norm(r, axis=0)
    found = r.T @ r / np.maximum(np.outer(length, length), 1e-30)
    np.fill_diagonal(found, 0)
    return found


@pytest.mark.parametrize("r", [R, random_r()], ids=["toy", "random"])
def test_item_knn_sums_cosines(r):
    found = ItemKNN(interactions(r), *r.shape).scores(torch.arange(len(r)))
    np.testing.assert_allclose(found, r @ cosines(r), atol=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("neighbours", [1, 3])
def test_item_knn_keeps_the_nearest_of_every_candidate(neighbours, chunk, monkeypatch):
    monkeypatch.setattr(item_knn, "CHUNK", chunk)
    r = random_r()
    kept = cosines(r)
    for line in kept:
        line[np.argsort(-line, kind="stable")[neighbours:]] = 0
    scorer = ItemKNN(interactions(r), *r.shape, neighbours=neighbours)
    found = scorer.scores(torch.arange(len(r)))
    np.testing.assert_allclose(found, r @ kept.T, atol=1e-6)


def test_all_neighbours_are_as_many_as_there_are_items():
    r = random_r()
    users = torch.arange(len(r))
    one, other = (
        ItemKNN(interactions(r), *r.shape, neighbours=k).scores(users) for k in (None, r.shape[1])
    )
    torch.testing.assert_close(one, other)
    with pytest.raises(InputError, match="neighbours: 0; allowed: 1 or more"):
        ItemKNN(TRAIN, USERS, ITEMS, neighbours=0)


def test_item_knn_by_hand():
    found = ItemKNN(TRAIN, USERS, ITEMS).scores(torch.tensor([1]))[0]
    # User 1 listens to 0 and 2; item 1 shares 2 of its 2 and 3 listeners with item 0.
    assert found[1].item() == pytest.approx(2 / math.sqrt(6))
    assert found[3].item() == pytest.approx(1 / math.sqrt(3)) and found[4] == 0


def ridge(x, l2):
    """Every column regressed on all others, one by one: EASE by its definition."""
    columns = x.shape[1]
    b = np.zeros((columns, columns))
    for j in range(columns):
        others = np.delete(np.arange(columns), j)
        a = x[:, others]
        b[others, j] = np.linalg.solve(a.T @ a + l2 * np.eye(len(others)), a.T @ x[:, j])
    return b


@pytest.mark.parametrize("solve", ["users", "items", "smaller"])
@pytest.mark.parametrize("r", [R, random_r()], ids=["toy", "random"])
def test_ease_is_a_ridge_regression_of_every_item_on_the_others(r, solve):
    scorer = EASE(interactions(r), *r.shape, l2=0.7, solve=solve)
    found = scorer.scores(torch.arange(len(r)))
    np.testing.assert_allclose(found, r @ ridge(r, 0.7), atol=1e-5)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("solve", ["users", "items"])
def test_friends_are_columns_of_ease_that_are_not_recommended(solve):
    r = random_r()
    friends = torch.tensor([[0, 0, 3, 5], [1, 4, 7, 11]])
    x = np.concatenate([r, 0.6 * friend_matrix(friends, len(r)).toarray()], axis=1)
    options = {"l2": 2.0, "friends_2E": friends, "solve": solve}
    scorer = EASE(interactions(r), *r.shape, friend_weight=0.6, **options)
    found = scorer.scores(torch.arange(len(r)))
    np.testing.assert_allclose(found, (x @ ridge(x, 2.0))[:, : r.shape[1]], atol=1e-5)
    without = EASE(interactions(r), *r.shape, l2=2.0).scores(torch.arange(len(r)))
    other = EASE(interactions(r), *r.shape, **options).scores(torch.arange(len(r)))
    assert (found - without).abs().max() > 1e-3 and (found - other).abs().max() > 1e-3


def test_ease_never_explains_an_item_by_itself():
    b = EASE(TRAIN, USERS, ITEMS, l2=1.0, solve="items").b_CI
    assert b is not None and (np.diag(b) == 0).all() and (b != 0).any()


def test_the_penalty_of_ease_shrinks_scores():
    weak, strong = (EASE(TRAIN, USERS, ITEMS, l2=l2).scores(EVERYBODY) for l2 in (0.1, 1e6))
    assert strong.abs().max() < 1e-4 < weak.abs().max()
    for l2 in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match=f"l2: {l2}; allowed: numbers above 0"):
            EASE(TRAIN, USERS, ITEMS, l2=l2)


def test_the_smaller_matrix_is_inverted():
    wide, tall = random_r(6, 9), random_r(9, 6)
    assert EASE(interactions(wide), 6, 9).b_CI is None
    assert EASE(interactions(tall), 9, 6).b_CI is not None
    friends = torch.tensor([[0], [1]])
    assert EASE(interactions(tall), 9, 6, friends_2E=friends).b_CI is None, "6 + 9 columns"


def test_a_matrix_that_does_not_fit_is_refused_with_the_way_out():
    says = (
        r"EASE: 4 users and 5 columns: inverting a matrix of {0} by {0} needs {1} bytes of "
        "memory, and 300 bytes are available; keep fewer users or items: a k-core of the "
        "interactions, or the top items"
    )
    for solve, side in (("users", 4), ("items", 5), ("smaller", 4)):
        with pytest.raises(InputError, match=says.format(side, 24 * side**2)):
            EASE(TRAIN, USERS, ITEMS, solve=solve, memory=300)
    EASE(TRAIN, USERS, ITEMS, solve="users", memory=384)


def test_scorers_are_assessed_as_peers():
    train = interactions(np.tril(np.ones((4, 6)), 1))
    test = interactions(np.eye(4, 6, 2))
    wanted, seen = ItemLists.of(4, test), ItemLists.of(4, train)
    scorers = {"popularity": Popularity(train, 6), "ease": EASE(train, 4, 6, l2=1.0)}
    whole, parts = (
        assess_scorers(scorers, RankingAssessment(cutoffs=(1, 2)), wanted, seen, rows).result()
        for rows in (10, 1)
    )
    assert whole == parts and set(whole["peers"]) == {"popularity", "ease"}
    # Users 0 to 2 are one item short of the next user's list, the most popular of the others.
    assert whole["peers"]["popularity"]["recall@1"] == 1
