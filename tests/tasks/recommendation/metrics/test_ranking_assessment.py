"""Branches alone and together, over users who want something."""

import math

import numpy as np
import pytest
import torch

from peerlearn.engine.evaluate import ROW_SCORES, concluded
from peerlearn.errors import InputError
from peerlearn.metrics.assessment import ScoresRows
from peerlearn.metrics.catalogue import Catalogue, base_name
from peerlearn.tasks.recommendation.data.dataset import Interactions
from peerlearn.tasks.recommendation.metrics.assessment import RankingAssessment
from peerlearn.tasks.recommendation.metrics.catalogue import METRICS
from peerlearn.tasks.recommendation.metrics.ensemble import ensemble_scores, standardised
from peerlearn.tasks.recommendation.metrics.lists import ItemFacts
from peerlearn.tasks.recommendation.metrics.ranking import (
    mean_over_users,
    ranking_metrics,
    top_items,
)
from peerlearn.tasks.recommendation.metrics.wanted import Wanted

USERS, ITEMS = 30, 80
NOTHING = torch.zeros(2, 0, dtype=torch.int64)


def cohort(seed=0, users=USERS, items=ITEMS):
    """Scores of three branches, and targets; every fifth user wants nothing."""
    generator = torch.Generator().manual_seed(seed)
    scores = {name: torch.randn(users, items, generator=generator) for name in ("a", "b", "c")}
    part = torch.rand(users, items, generator=generator)
    part[::5] = part[::5].clamp_max(0.9)
    users = torch.arange(users).flip(0)
    return scores, Wanted(users, (part > 0.9).nonzero().T, (part < 0.3).nonzero().T)


def served(seed=1, items=ITEMS):
    """Which items branches a and b serve; c has no entry."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(items, generator=generator) < 0.6 for name in ("a", "b")}


def assessed(scores, wanted, rows=None, **options):
    assessment = RankingAssessment(**options)
    for place, part in wanted.split(rows or len(wanted)):
        assessment.add({name: z[place] for name, z in scores.items()}, part)
    return assessment


def plain_ensemble(scores, there, wanted):
    """The rule user by user and item by item."""
    users, items = next(iter(scores.values())).shape
    seen = {tuple(pair) for pair in wanted.seen_2P.T.tolist()}
    found = np.zeros((users, items))
    for u in range(users):
        z = {}
        for name, line in scores.items():
            line = line[u].double().numpy()
            served = there.get(name, torch.ones(items, dtype=torch.bool)).tolist()
            unseen = [i for i in range(items) if (u, i) not in seen]
            counted = line[[i for i in unseen if served[i]] or unseen]
            z[name] = served, (line - counted.mean()) / counted.std()
        for i in range(items):
            said = [each[i] for served, each in z.values() if served[i]]
            found[u, i] = np.mean(said or [each[i] for _, each in z.values()])
    return found


def test_the_ensemble_is_the_mean_over_branches_that_serve_an_item():
    scores, wanted = cohort()
    there = served() | {"c": torch.rand(ITEMS, generator=torch.Generator().manual_seed(5)) < 0.3}
    assert not (there["a"] | there["b"] | there["c"]).all(), "some are served by nobody"
    found = ensemble_scores(scores, there, wanted.seen_2P)
    np.testing.assert_allclose(found, plain_ensemble(scores, there, wanted), atol=1e-5)


def test_what_a_branch_says_of_items_it_does_not_serve_changes_nothing():
    scores, wanted = cohort()
    there = served()
    changed = scores | {"a": scores["a"].masked_fill(~there["a"], 1e6)}
    before = ensemble_scores(scores, there, wanted.seen_2P)
    assert torch.equal(before, ensemble_scores(changed, there, wanted.seen_2P))
    unaware = ensemble_scores(scores, {}, wanted.seen_2P)
    assert not torch.equal(unaware, ensemble_scores(changed, {}, wanted.seen_2P))


def test_what_a_branch_says_of_items_that_were_seen_changes_nothing():
    scores, wanted = cohort()
    row, item = wanted.seen_2P
    loud = scores["a"].clone()
    loud[row, item] = 1e6
    unseen = torch.ones(USERS, ITEMS, dtype=torch.bool)
    unseen[row, item] = False
    before = ensemble_scores(scores, {}, wanted.seen_2P)
    after = ensemble_scores(scores | {"a": loud}, {}, wanted.seen_2P)
    assert torch.equal(before[unseen], after[unseen])


def test_an_item_that_nobody_serves_gets_the_mean_of_all_branches():
    scores = {"a": torch.tensor([[0.0, 2.0, 4.0]]), "b": torch.tensor([[0.0, 2.0, -2.0]])}
    nobody = torch.tensor([True, True, False])
    found = ensemble_scores(scores, {"a": nobody, "b": nobody}, NOTHING)
    # Both say 0 and 2 of what they serve: mean 1, deviation 1; of the last 3 and −3.
    assert found.tolist() == [[-1, 1, 0]]


def test_scores_are_standardised_user_by_user():
    scores, wanted = cohort()
    factor, shift = torch.rand(USERS, 1) + 0.5, torch.randn(USERS, 1)
    moved = scores | {"b": scores["b"].double() * factor + shift}
    before = ensemble_scores(scores, served(), wanted.seen_2P)
    torch.testing.assert_close(before, ensemble_scores(moved, served(), wanted.seen_2P))
    z = standardised(scores["a"], torch.ones(USERS, ITEMS), served()["a"])
    own = z[:, served()["a"]]
    torch.testing.assert_close(own.mean(1), torch.zeros(USERS))
    torch.testing.assert_close(own.std(1, correction=0), torch.ones(USERS))


def test_a_branch_without_an_opinion_adds_none():
    scores = {"a": torch.tensor([[3.0, 1.0, 2.0]]), "b": torch.full((1, 3), 0.1)}
    found = ensemble_scores(scores, {}, NOTHING)
    torch.testing.assert_close(found, ensemble_scores({"a": scores["a"]}, {}, NOTHING) / 2)


def test_large_scores_with_small_differences_are_standardised():
    near = torch.arange(8.0).flip(0).unsqueeze(0)
    far = ensemble_scores({"a": near + 1e6}, {}, NOTHING)
    torch.testing.assert_close(far, ensemble_scores({"a": near}, {}, NOTHING))


def test_a_branch_that_serves_nothing_is_left_out_where_others_serve():
    scores, wanted = cohort()
    nothing = {"a": torch.zeros(ITEMS, dtype=torch.bool)}
    found = ensemble_scores(scores, nothing, wanted.seen_2P)
    others = {name: scores[name] for name in "bc"}
    assert torch.equal(found, ensemble_scores(others, {}, wanted.seen_2P))
    alone = ensemble_scores({"a": scores["a"]}, nothing, wanted.seen_2P)
    assert torch.equal(
        top_items(alone, wanted.seen_2P, 9), top_items(scores["a"], wanted.seen_2P, 9)
    )


def test_an_item_that_a_branch_leaves_out_is_ranked_by_the_others():
    scores = {"a": torch.tensor([[-math.inf, 1.0, 3.0]]), "b": torch.tensor([[5.0, 3.0, 4.0]])}
    found = ensemble_scores(scores, {}, NOTHING)
    z = standardised(scores["b"], torch.ones(1, 3), torch.ones(3).bool())
    assert found[0, 0].item() == pytest.approx(z[0, 0].item())
    assert found[0, 1].item() == pytest.approx((-1 + z[0, 1].item()) / 2)


def test_a_branch_that_diverged_is_seen_in_the_ensemble():
    scores, wanted = cohort()
    scores["a"][3, 5] = math.nan
    found = ensemble_scores(scores, served(), wanted.seen_2P)
    assert found[3].isnan().all() and found[[*range(3), *range(4, USERS)]].isfinite().all()


def test_standardised_means_differ_from_means_of_probabilities():
    sharp = {"a": torch.tensor([[50.0, 0.0, 1.0]]), "b": torch.tensor([[0.0, 0.2, 0.15]])}
    mean = sum(z.softmax(1) for z in sharp.values())
    assert mean.argsort(descending=True).tolist() == [[0, 1, 2]]
    found = ensemble_scores(sharp, {}, NOTHING)
    assert found.argsort(descending=True).tolist() == [[1, 0, 2]]


def test_branches_are_measured_alone_and_together():
    scores, wanted = cohort()
    there = served()
    block = assessed(scores, wanted, there=there).result()
    everyone = scores | {"ensemble": ensemble_scores(scores, there, wanted.seen_2P)}
    for who, z in everyone.items():
        found = block["ensemble"] if who == "ensemble" else block["peers"][who]
        for name, values in ranking_metrics(z, wanted).items():
            assert found[name] == pytest.approx(mean_over_users(values)), (who, name)
    mean = sum(block["peers"][name]["recall@20"] for name in "abc") / 3
    assert block["mean_peer"]["recall@20"] == pytest.approx(mean)
    assert block["mean_peer"].keys() == block["ensemble"].keys()


def test_which_items_are_served_changes_the_ensemble_alone():
    scores, wanted = cohort()
    one, other = (assessed(scores, wanted, there=t).result() for t in ({}, served()))
    assert one["peers"] == other["peers"]
    assert one["ensemble"] != other["ensemble"]


def test_only_members_make_the_ensemble():
    scores, wanted = cohort()
    block = assessed(scores, wanted, members=["a", "c"]).result()
    two = assessed({name: scores[name] for name in "ac"}, wanted).result()
    assert block["ensemble"] == two["ensemble"] and block["mean_peer"] == two["mean_peer"]
    assert set(block["peers"]) == {"a", "b", "c"}


@pytest.mark.parametrize("rows", [1, 7])
def test_batches_of_any_size_give_one_result(rows):
    scores, wanted = cohort()
    scores["a"] = scores["a"].round()  # many equal scores
    facts = ItemFacts.of(
        Interactions(wanted.users_B[wanted.seen_2P[0]], wanted.seen_2P[1], torch.ones(1)), USERS,
        ITEMS,
    )  # fmt: skip
    options = {"there": served(), "facts": facts, "groups": {"few": torch.arange(USERS) < 9}}
    whole, parts = (assessed(scores, wanted, each, **options) for each in (None, rows))
    for who, found in whole.row_scores().items():
        for name, values in found.items():
            again = parts.row_scores()[who][name]
            torch.testing.assert_close(values, again, equal_nan=True, rtol=0, atol=1e-6)
    assert parts.result()["ensemble"] == pytest.approx(whole.result()["ensemble"], nan_ok=True)
    assert parts.result()["between_peers"] == whole.result()["between_peers"]


def test_rows_are_users_who_want_something_and_average_to_the_metrics():
    scores, wanted = cohort()
    facts = ItemFacts.of(
        Interactions(torch.arange(USERS), torch.arange(USERS), torch.ones(USERS)), USERS, ITEMS
    )
    assessment = assessed(scores, wanted, facts=facts)
    assert isinstance(assessment, ScoresRows)
    block = concluded(assessment, with_rows=True)
    rows = block[ROW_SCORES]
    assert set(rows) == {"a", "b", "c", "ensemble"}
    for who, found in rows.items():
        measured = block["peers"].get(who, block["ensemble"])
        assert {name for name in measured if not name.startswith("coverage")} == set(found)
        for name, values in found.items():
            assert len(values) == int((wanted.counts > 0).sum()) < USERS
            assert values.dtype == torch.float32
            mean = np.nanmean(values.double().numpy())
            assert mean == pytest.approx(measured[name], abs=1e-6, nan_ok=True), (who, name)
    own = ranking_metrics(scores["a"], wanted)["ndcg@50"]
    torch.testing.assert_close(rows["a"]["ndcg@50"], own[~own.isnan()].float())


def test_groups_are_measured_of_their_users():
    scores, wanted = cohort()
    few = torch.arange(USERS) < 10
    groups = {"few": few, "none": torch.zeros(USERS, dtype=torch.bool)}
    assessment = assessed(scores, wanted, groups=groups)
    found = assessment.result()["peers"]["b"]
    for name, values in ranking_metrics(scores["b"], wanted).items():
        if name in ("recall@20", "ndcg@20", "recall@50", "ndcg@50"):
            expected = mean_over_users(values[few[wanted.users_B]])
            assert found[f"{name}:few"] == pytest.approx(expected)
            assert math.isnan(found[f"{name}:none"])
        else:
            assert f"{name}:few" not in found
    rows = assessment.row_scores()["b"]["recall@20:few"]
    users = wanted.users_B[wanted.counts > 0]
    assert torch.equal(~rows.isnan(), few[users])
    assert math.isnan(assessment.result()["mean_peer"]["recall@20:none"])


def test_lists_are_measured_where_facts_are_given():
    scores, wanted = cohort()
    item = torch.randint(ITEMS, (200,), generator=torch.Generator().manual_seed(3))
    facts = ItemFacts.of(Interactions(item % USERS, item, torch.ones(200)), USERS, ITEMS)
    found = assessed(scores, wanted, facts=facts).result()["peers"]["a"]
    kept = wanted.counts > 0
    top = top_items(scores["a"], wanted.seen_2P, 10)[kept]
    for name, values in facts.metrics(top, 10).items():
        assert found[name] == pytest.approx(mean_over_users(values))
    assert found["coverage@10"] == pytest.approx(len(top.unique()) / ITEMS)
    assert "diversity@10" not in assessed(scores, wanted).result()["peers"]["a"]


def test_branches_agree_by_their_first_twenty():
    scores, wanted = cohort()
    scores["c"] = scores["a"] * 2
    agreement = assessed(scores, wanted).result()["between_peers"]["agreement"]
    assert agreement["a~c"] == 1 and agreement["a~b"] == agreement["b~c"]
    kept = (wanted.counts > 0).nonzero().squeeze(1)
    lists = [top_items(scores[name], wanted.seen_2P, 20) for name in "ab"]
    shared = [len({*lists[0][u].tolist()} & {*lists[1][u].tolist()}) / 20 for u in kept]
    assert agreement["a~b"] == pytest.approx(np.mean(shared))


def test_cutoffs_are_those_that_were_asked_for():
    scores, wanted = cohort()
    found = assessed(scores, wanted, cutoffs=(3, 20)).result()["ensemble"]
    assert {name.partition("@")[2] for name in found} == {"3", "20"}


def test_the_catalogue_knows_everything_that_is_measured():
    scores, wanted = cohort()
    facts = ItemFacts.of(
        Interactions(torch.arange(USERS), torch.arange(USERS), torch.ones(USERS)), USERS, ITEMS
    )
    groups = {"cold5": torch.ones(USERS, dtype=torch.bool)}
    found = assessed(scores, wanted, facts=facts, groups=groups).result()["ensemble"]
    catalogue = Catalogue(METRICS)
    assert {base_name(name) for name in found} == set(catalogue)
    assert catalogue.main(found) == "recall@20" and catalogue.headlines == ["recall@20"]
    assert catalogue.brief == ["recall@20", "ndcg@20", "recall@50", "ndcg@50"]
    assert [name for name, metric in catalogue.items() if metric.selects] == catalogue.brief[:2]
    assert catalogue["recall@20:cold5"].label == "Recall@20 of cold5"


@pytest.mark.parametrize(
    ("options", "change", "says"),
    [
        ({}, {"b": torch.zeros(USERS, 3)}, r"peer 'b': scores \(30, 3\); expected \(30, 80\)"),
        ({"there": {"d": torch.ones(ITEMS).bool()}}, {}, "there: unknown peer 'd'"),
        ({"there": {"a": torch.ones(3).bool()}}, {}, r"there: peer 'a': .*expected bool \(80,\)"),
        ({"groups": {"few": torch.ones(2).bool()}}, {}, "'few' is of 2 users; found user 29"),
    ],
)
def test_what_does_not_fit_is_refused(options, change, says):
    scores, wanted = cohort()
    with pytest.raises(InputError, match=says):
        RankingAssessment(**options).add(scores | change, wanted)


def test_targets_of_other_items_and_kinds_are_refused():
    scores, wanted = cohort()
    assessment = RankingAssessment()
    with pytest.raises(InputError, match="targets are Tensor; expected Wanted"):
        assessment.add(scores, torch.zeros(USERS))
    far = Wanted(wanted.users_B, torch.tensor([[0], [ITEMS]]), NOTHING)
    with pytest.raises(InputError, match="item 80; peers score items 0 to 79"):
        assessment.add(scores, far)
    assessment.add(scores, wanted)
    with pytest.raises(InputError, match="earlier batches had a, b, c"):
        assessment.add({"a": scores["a"]}, wanted)


def test_nobody_who_wants_something_is_an_error():
    scores, wanted = cohort()
    assessment = RankingAssessment()
    assessment.add(scores, Wanted(wanted.users_B, NOTHING, wanted.seen_2P))
    with pytest.raises(InputError, match="no user who wants an item"):
        assessment.result()
