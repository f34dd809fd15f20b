"""What lists are like, whoever wants them."""

import math

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.dataset import Interactions
from peerlearn.tasks.recommendation.metrics.lists import (
    ItemFacts,
    co_listening,
    diversity,
    recommended,
    unit_vectors,
)
from peerlearn.tasks.recommendation.metrics.ranking import NO_ITEM

#: Users 0 and 1 listen to items 0 and 1, user 2 to items 1 and 2; nobody to item 3.
TRAIN = Interactions(
    torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 1, 2]), torch.ones(6)
)


def test_coverage_counts_what_somebody_is_recommended():
    top = torch.tensor([[0, 3], [3, NO_ITEM]])
    assert recommended(top, 5).tolist() == [True, False, False, True, False]


def test_coverage_and_popularity_are_those_of_torch_geometric():
    pyg = pytest.importorskip("torch_geometric.metrics", reason="needs torch-geometric")
    top = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(s))[:9]
                       for s in range(3)])  # fmt: skip
    coverage = pyg.LinkPredCoverage(5, 40)
    coverage.update(top, torch.zeros(2, 0, dtype=torch.int64))
    found = recommended(top[:, :5], 40).double().mean().item()
    assert found == pytest.approx(coverage.compute().item(), abs=1e-6)

    item = torch.arange(40).repeat_interleave(torch.arange(40))
    facts = ItemFacts.of(Interactions(item, item, torch.ones(len(item))), 40, 40)
    popularity = pyg.LinkPredAveragePopularity(5, facts.popularity_I.float())
    popularity.update(top, torch.zeros(2, 0, dtype=torch.int64))
    found = facts.metrics(top, 5)["popularity@5"].mean().item() + facts.usual
    assert found == pytest.approx(popularity.compute().item(), abs=1e-6)


def test_popularity_is_measured_against_what_is_listened_to():
    facts = ItemFacts.of(TRAIN, 3, 4)
    listeners = (2, 3, 1, 0)
    usual = sum(n * math.log(1 + n) for n in listeners) / 6
    found = facts.metrics(torch.tensor([[1, 0, 2], [3, NO_ITEM, NO_ITEM]]), 2)["popularity@2"]
    expected = [(math.log(4) + math.log(3)) / 2 - usual, 0 - usual]
    assert found.tolist() == pytest.approx(expected)
    alike = ItemFacts.of(Interactions(torch.arange(4), torch.arange(4), torch.ones(4)), 4, 4)
    assert alike.metrics(torch.tensor([[0, 3]]), 2)["popularity@2"].item() == pytest.approx(0)


def test_items_are_alike_by_common_listeners():
    cosine = (co_listening(TRAIN, 3, 4) @ co_listening(TRAIN, 3, 4).T).toarray()
    assert cosine[0, 1] == pytest.approx(2 / math.sqrt(2 * 3))
    assert cosine[0, 2] == 0 and cosine[3].tolist() == [0, 0, 0, 0]


def test_diversity_is_one_minus_the_mean_cosine_of_pairs():
    found = diversity(torch.tensor([[0, 1, 2]]), co_listening(TRAIN, 3, 4)).item()
    pairs = (2 / math.sqrt(6), 0, 1 / math.sqrt(3))
    assert found == pytest.approx(1 - sum(pairs) / 3)
    x = torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0], [-3.0, 0.0]])
    lists = torch.tensor([[0, 1], [0, 2], [0, 3]])
    assert diversity(lists, unit_vectors(x)).tolist() == pytest.approx([1, 1 - math.sqrt(0.5), 2])


def test_vectors_dense_and_sparse_give_one_diversity():
    sparse_IU = co_listening(TRAIN, 3, 4)
    lists = torch.tensor([[0, 1, 2], [3, 2, 1], [1, NO_ITEM, NO_ITEM]])
    one, other = diversity(lists, sparse_IU), diversity(lists, sparse_IU.toarray())
    assert one.nan_to_num(-1).tolist() == pytest.approx(other.nan_to_num(-1).tolist())


def test_items_without_a_vector_are_in_no_pair():
    vectors = unit_vectors(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    found = diversity(torch.tensor([[0, 2, 1], [0, 2, NO_ITEM]]), vectors)
    assert found[0] == 1 and found[1].isnan()


def test_given_features_decide_what_is_alike():
    x = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    top = torch.tensor([[0, 2]])
    assert ItemFacts.of(TRAIN, 3, 4).metrics(top, 2)["diversity@2"].item() == 1
    assert ItemFacts.of(TRAIN, 3, 4, x).metrics(top, 2)["diversity@2"].item() == 0
    with pytest.raises(InputError, match="vectors of 3 items; expected 4"):
        ItemFacts.of(TRAIN, 3, 4, x[:3])
