"""Recommenders in closed form on Last.fm: numbers that were measured by other code."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from peerlearn.tasks.recommendation.data.dataset import Interactions, ItemLists
from peerlearn.tasks.recommendation.inputs import RankingInput
from peerlearn.tasks.recommendation.metrics.assessment import RankingAssessment
from peerlearn.tasks.recommendation.metrics.wanted import Wanted
from peerlearn.tasks.recommendation.models.closed_form import (
    Ease,
    FriendsPopularity,
    ItemNeighbours,
    Popularity,
)
from peerlearn.tasks.recommendation.models.propagation import SocialGraph

#: Recall and NDCG at 20, then at 50, on every fifth artist of a user.
EXPECTED = {
    "popularity": (0.0842, 0.0757, 0.1519, 0.1048),
    "friends": (0.1567, 0.1567, 0.2394, 0.1924),
    "item-kNN": (0.2354, 0.2359, 0.3615, 0.2906),
    "EASE": (0.2494, 0.2477, 0.3763, 0.3028),
    "EASE with friends": (0.2508, 0.2493, 0.3774, 0.3044),
}


@pytest.fixture(scope="module")
def found():
    """Metrics of all baselines, or a skip without the data."""
    path = Path(os.environ.get("PEERLEARN_DATA") or ".") / "music" / "lastfm.npz"
    if not path.is_file():
        pytest.skip(f"needs real data: {path} is not there")
    with np.load(path) as file:
        user, item = (torch.from_numpy(file[name].astype(np.int64)) for name in ("user", "item"))
        test = torch.from_numpy(file["test"])
        friends = torch.from_numpy(file["friends"].astype(np.int64)).T
        users, items = int(user.max()) + 1, len(file["item_name"])
    everything = Interactions(user, item, torch.ones(len(user)))
    train, test = everything.select(~test), everything.select(test)
    graph = SocialGraph(users, items, len(train), friends.shape[1])
    graph.fill(torch.stack([train.user, train.item]), friends)
    peers = {
        "popularity": Popularity(graph),
        "friends": FriendsPopularity(graph),
        "item-kNN": ItemNeighbours(graph),
        "EASE": Ease(graph, 100),
        "EASE with friends": Ease(graph, 100, 0.5),
    }
    for peer in peers.values():
        peer.fit()
    wants, saw = ItemLists.of(users, test), ItemLists.of(users, train)
    assessment = RankingAssessment(cutoffs=(20, 50), members=["EASE"])
    for chunk in (wants.counts > 0).nonzero()[:, 0].split(512):
        scores = {name: peer(RankingInput(chunk)).logits for name, peer in peers.items()}
        assessment.add(scores, Wanted.of(chunk, wants, saw))
    return assessment.result()["peers"]


@pytest.mark.shared_data
@pytest.mark.parametrize("name", EXPECTED)
def test_a_baseline_has_its_known_numbers(found, name):
    measured = [found[name][key] for key in ("recall@20", "ndcg@20", "recall@50", "ndcg@50")]
    assert measured == pytest.approx(EXPECTED[name], abs=1e-3)
