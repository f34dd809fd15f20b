"""Lists of items and what is found in them."""

import math

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.recommendation.data.dataset import Interactions, ItemLists
from peerlearn.tasks.recommendation.metrics.ranking import (
    NO_ITEM,
    hits,
    list_metrics,
    mean_over_users,
    ranking_metrics,
    top_items,
)
from peerlearn.tasks.recommendation.metrics.wanted import Wanted, cold_users

NOTHING = torch.zeros(2, 0, dtype=torch.int64)
CUTOFFS = (1, 2, 5, 10, 50)


def pairs(*of_rows):
    """Pairs of rows and items: `pairs([1, 4], [], [0])` is of three rows."""
    found = [(row, item) for row, items in enumerate(of_rows) for item in items]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2).T


def random_batch(users=40, items=60, seed=0, levels=None):
    """Scores, and what users want and have seen, as `Wanted`; some want nothing."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(users, items, generator=generator)
    if levels is not None:
        scores = (scores * levels).round()
    part = torch.rand(users, items, generator=generator)
    part[::7] = part[::7].clamp_max(0.8)
    wanted = Wanted(torch.arange(users), (part > 0.85).nonzero().T, (part < 0.3).nonzero().T)
    return scores, wanted


def by_definition(scores, wanted, cutoffs):
    """Metrics of every user from the words of their definition, in plain Python."""
    found = []
    for row, line in enumerate(scores.tolist()):
        seen, wants = (
            {int(i) for r, i in p.T.tolist() if r == row}
            for p in (wanted.seen_2P, wanted.wanted_2P)
        )
        ranked = sorted((-s, i) for i, s in enumerate(line) if i not in seen)
        values = {}
        for k in cutoffs:
            places = [p for p, (_, i) in enumerate(ranked[:k], 1) if i in wants]
            ideal = sum(1 / math.log2(p + 1) for p in range(1, min(k, len(wants)) + 1))
            values |= {
                f"recall@{k}": len(places) / len(wants) if wants else math.nan,
                f"ndcg@{k}": sum(1 / math.log2(p + 1) for p in places) / ideal if wants else 0,
                f"precision@{k}": len(places) / k,
                f"hit@{k}": float(bool(places)),
                f"mrr@{k}": 1 / places[0] if places else 0.0,
            }
        found.append({k: v if wants else math.nan for k, v in values.items()})
    return {name: [each[name] for each in found] for name in found[0]}


def test_a_hand_made_list_has_the_metrics_one_finds_by_hand():
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]])
    wanted = Wanted(torch.tensor([7]), pairs([1, 3, 4]), pairs([0]))
    found = {k: v.item() for k, v in ranking_metrics(scores, wanted, (1, 2, 3)).items()}
    # Ranked: 1 (wanted), 2, 3 (wanted), 4 (wanted).
    second, third = 1 / math.log2(3), 1 / 2
    assert found == pytest.approx(
        {
            "recall@1": 1 / 3, "recall@2": 1 / 3, "recall@3": 2 / 3,
            "precision@1": 1, "precision@2": 1 / 2, "precision@3": 2 / 3,
            "ndcg@1": 1, "ndcg@2": 1 / (1 + second),
            "ndcg@3": (1 + third) / (1 + second + third),
            "hit@1": 1, "hit@2": 1, "hit@3": 1, "mrr@1": 1, "mrr@2": 1, "mrr@3": 1,
        }
    )  # fmt: skip


def test_the_reciprocal_rank_is_that_of_the_first_hit_within_the_list():
    hit = torch.tensor([[False, False, True, True], [False, False, False, False]])
    found = list_metrics(hit, torch.tensor([2, 1]), (2, 4))
    assert found["mrr@2"].tolist() == [0, 0]
    assert found["mrr@4"].tolist() == pytest.approx([1 / 3, 0])
    assert found["hit@2"].tolist() == [0, 0] and found["hit@4"].tolist() == [1, 0]


def test_an_ideal_list_is_no_longer_than_what_is_wanted():
    hit = torch.tensor([[True, False, False]])
    assert list_metrics(hit, torch.tensor([1]), (3,))["ndcg@3"].item() == 1
    assert list_metrics(hit, torch.tensor([2]), (3,))["ndcg@3"].item() < 1


@pytest.mark.parametrize("levels", [None, 1.0])
def test_metrics_are_those_of_their_definition(levels):
    scores, wanted = random_batch(levels=levels)
    found = ranking_metrics(scores, wanted, CUTOFFS)
    expected = by_definition(scores, wanted, CUTOFFS)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].numpy(), values, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("levels", [None, 1.0])
@pytest.mark.parametrize("rows", [1, 3, 16])
def test_users_taken_in_chunks_have_the_same_metrics(levels, rows):
    scores, wanted = random_batch(levels=levels)
    at_once = ranking_metrics(scores, wanted, CUTOFFS, rows=1000)
    in_chunks = ranking_metrics(scores, wanted, CUTOFFS, rows=rows)
    for name, values in at_once.items():
        assert torch.equal(values.nan_to_num(-1), in_chunks[name].nan_to_num(-1)), name


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_equal_scores_are_ranked_by_number(rows):
    scores = torch.zeros(8, 300)
    scores[:, 200] = 1
    top = top_items(scores, pairs([], [0, 2]), 4, rows=rows)
    assert top[0].tolist() == [200, 0, 1, 2]
    assert top[1].tolist() == [200, 1, 3, 4]
    assert torch.equal(top[2:], top[:1].expand(6, 4))


def test_negative_zero_equals_zero():
    scores = torch.tensor([[-0.0, 0.0, -0.0, 0.0]])
    assert top_items(scores, NOTHING, 2).tolist() == [[0, 1]]


def test_what_was_seen_is_never_recommended_and_short_lists_end():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    top = top_items(scores, pairs([0], [0, 1, 2]), 5)
    assert top.tolist() == [[1, 2, *[NO_ITEM] * 3], [NO_ITEM] * 5]


def test_items_that_are_left_out_or_have_no_number_are_never_recommended():
    scores = torch.tensor([[math.nan, -math.inf, 0.0, -5.0]])
    assert top_items(scores, NOTHING, 4).tolist() == [[2, 3, NO_ITEM, NO_ITEM]]


def test_scores_are_left_as_they_are():
    scores, wanted = random_batch()
    before = scores.clone()
    top_items(scores, wanted.seen_2P, 5)
    assert torch.equal(scores, before)


def test_an_ended_list_hits_nothing():
    top = torch.tensor([[0, NO_ITEM], [NO_ITEM, NO_ITEM], [1, 0]])
    assert hits(top, pairs([9], [9], [0])).tolist() == [[False] * 2, [False] * 2, [False, True]]


def test_users_who_want_nothing_are_in_no_mean():
    scores = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    found = ranking_metrics(scores, Wanted(torch.arange(2), pairs([0]), NOTHING), (1,))["recall@1"]
    assert found[0] == 1 and found[1].isnan()
    assert mean_over_users(found) == 1
    assert math.isnan(mean_over_users(found[1:]))


def test_metrics_are_those_of_torch_geometric():
    pyg = pytest.importorskip("torch_geometric.metrics", reason="needs torch-geometric")
    scores, wanted = random_batch(users=50, items=200, seed=1)
    top = top_items(scores, wanted.seen_2P, 50)
    assert (top != NO_ITEM).all()
    found = ranking_metrics(scores, wanted)
    theirs = {
        "recall": pyg.LinkPredRecall,
        "ndcg": pyg.LinkPredNDCG,
        "precision": pyg.LinkPredPrecision,
        "hit": pyg.LinkPredHitRatio,
        "mrr": pyg.LinkPredMRR,
    }
    for kind, metric in theirs.items():
        for k in (5, 10, 20, 50):
            oracle = metric(k)
            oracle.update(top, wanted.wanted_2P)
            expected = oracle.compute().item()
            ours = mean_over_users(found[f"{kind}@{k}"])
            assert ours == pytest.approx(expected, abs=1e-6), (kind, k)


def test_items_of_users_are_listed_once_and_in_order():
    def part(user, item):
        return Interactions(torch.tensor(user), torch.tensor(item), torch.ones(len(user)))

    lists = ItemLists.of(4, part([2, 0, 2], [5, 1, 3]), part([2, 3], [3, 0]))
    assert lists.counts.tolist() == [1, 0, 2, 1]
    assert lists.pairs(torch.tensor([2, 1, 3])).tolist() == [[0, 0, 2], [3, 5, 0]]
    assert lists.pairs(torch.tensor([1])).shape == (2, 0)


def test_parts_of_a_batch_hold_their_own_pairs():
    _, wanted = random_batch(users=7)
    parts = list(wanted.split(3))
    assert [len(part) for _, part in parts] == [3, 3, 1]
    for name in ("wanted_2P", "seen_2P"):
        again = [
            torch.stack([p[0] + place.start, p[1]])
            for place, part in parts
            for p in [getattr(part, name)]
        ]
        assert torch.equal(torch.cat(again, 1), getattr(wanted, name))


def test_users_are_cold_who_have_few_items():
    found = cold_users(torch.tensor([0, 5, 6, 10, 11]), (5, 10))
    assert found["cold5"].tolist() == [True, True, False, False, False]
    assert found["cold10"].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("wanted", "seen", "says"),
    [
        (pairs([1]), pairs([1]), "user 4 wants item 1, which is also among the items seen"),
        (pairs([1, 1]), NOTHING, "wanted: item 1 of row 0 is there more than once"),
        (NOTHING, pairs([], [], [0]), "seen: row 2; allowed: 0 to 1"),
        (pairs([-3]), NOTHING, "wanted: item -3; allowed: 0 on"),
        (torch.zeros(3, 2), NOTHING, r"expected \(B,\) and \(2, pairs\)"),
    ],
)
def test_targets_that_cannot_be_are_refused(wanted, seen, says):
    with pytest.raises(InputError, match=says):
        Wanted(torch.tensor([4, 5]), wanted, seen)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"scores \(3,\)"):
        top_items(torch.zeros(3), NOTHING, 1)
