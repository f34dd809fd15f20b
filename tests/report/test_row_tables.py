"""Scores of single test rows come into a comparison where they belong to what was measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from peerlearn.metrics.calibration import bin_means, calibration_error, equal_mass, equal_width
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.row_tables import SeedRows, calibration_scores, read_rows
from peerlearn.report.statistics import contrasts, differences
from peerlearn.report.words import outcome
from peerlearn.results import summary
from peerlearn.row_scores import FILE, write_row_scores

METRICS = Catalogue(CLASSIFICATION)
ROWS = 200


def arm(scores):
    """An arm and its rows, from scores of peers and ensemble by seed: name → (S, rows)."""
    peers = [who for who in next(iter(scores.values())) if who != "ensemble"]
    block = {"peers": {}, "mean_peer": {}, "ensemble": {}}
    for metric, of in scores.items():
        for who in peers:
            block["peers"].setdefault(who, {})[metric] = summary(of[who].mean(1).tolist())
        together = np.stack([of[who] for who in peers]).mean((0, 2))
        block["mean_peer"][metric] = summary(together.tolist())
        block["ensemble"][metric] = summary(of["ensemble"].mean(1).tolist())
    seeds = len(next(iter(of.values())))
    rows = [
        SeedRows(
            "these", {w: {m: s[w][k] for m, s in scores.items()} for w in (*peers, "ensemble")}
        )
        for k in range(seeds)
    ]
    return block, rows


def compared(mutual, independent):
    """The differences of two arms: by who and metric."""
    blocks = {"mutual": mutual[0], "independent": independent[0]}
    rows = {"mutual": mutual[1], "independent": independent[1]}
    entries = differences(blocks, metrics=METRICS, rows=rows)
    return {(entry["who"], entry["metric"]): entry for entry in entries}


def right(seeds=3, wrong=20, peers="ab", rows=ROWS):
    """Accuracy by row: the first rows are wrong, for everyone, with every seed."""
    score = np.ones((seeds, rows), dtype=np.float32)
    score[:, :wrong] = 0
    return {"accuracy": {who: score.copy() for who in (*peers, "ensemble")}}


def one_row_more(seeds=3):
    """One peer has one row more right, with every seed."""
    scores = right(seeds)
    scores["accuracy"]["a"][:, 3] = 1
    return scores


def test_a_win_on_one_test_row_is_no_win():
    """USPS, 200 test rows: +0.25 points with every seed was called a sure gain."""
    found = compared(arm(one_row_more()), arm(right()))["mean_peer", "accuracy"]
    assert found["mean"] == pytest.approx(0.0025)
    assert found["ci95"] == pytest.approx([-0.0025, 0.0075])
    assert (found["covers"], found["rows"], found["rows_shared"]) == (
        "seeds and test rows",
        200,
        True,
    )
    assert found["differing_rows"] == 1
    assert found["p"] == 1
    (read,) = contrasts([found], METRICS)
    assert read.side == ""
    assert outcome(read) == (
        "No difference in mean-peer accuracy shown between mutual and independent: +0.25 points "
        "(95 % interval [−0.25, 0.75], 3 seeds × 200 test rows); the arms differ on 1 test row."
    )


def test_arms_that_are_equal_on_every_row_are_not_known_to_be_equal():
    found = compared(arm(right()), arm(right()))["ensemble", "accuracy"]
    assert found["ci95"] == [-1 / ROWS, 1 / ROWS]
    assert found["differing_rows"] == 0
    assert "the arms differ on no test row" in outcome(contrasts([found], METRICS)[0])


def test_a_gain_on_many_rows_is_marked():
    found = compared(arm(right(wrong=10)), arm(right(wrong=30)))
    entries = contrasts([*found.values()], METRICS)
    assert {e.who: e.side for e in entries} == {
        "a": "",
        "b": "",
        "mean_peer": "better",
        "ensemble": "better",
    }
    main = next(e for e in entries if e.who == "mean_peer")
    assert main.differing == 20
    assert outcome(main).startswith(
        "mutual beats independent on mean-peer accuracy: +10.0 points (95 % interval [5.8, 14.2], "
        "3 seeds × 200 test rows)"
    )


@pytest.mark.parametrize(
    ("seeds", "interval", "side"), [(1, False, ""), (2, True, ""), (3, True, "better")]
)
def test_fewer_than_three_seeds_mark_nothing(seeds, interval, side):
    found = compared(arm(right(seeds, wrong=10)), arm(right(seeds, wrong=30)))
    entry = found["ensemble", "accuracy"]
    assert (entry["ci95"] is not None) is interval
    (read,) = contrasts([entry], METRICS)
    assert read.side == side
    if not interval:
        assert "One seed: no interval" in outcome(read)


def test_more_looks_ask_for_more_differing_rows():
    """Six rows are enough for one look, and not for two, or for six."""
    found = compared(arm(right(wrong=20)), arm(right(wrong=26)))["ensemble", "accuracy"]
    assert found["differing_rows"] == 6
    assert found["p"] == 2**-5
    assert [e.side for e in contrasts([found], METRICS)] == ["better"]
    many = contrasts([found | {"arm": str(arm)} for arm in range(6)], METRICS)
    assert {e.side for e in many} == {""}
    assert "differ on 6 test rows" in outcome(many[0])


def noisy(seed, seeds=3, rows=ROWS):
    draw = np.random.default_rng(seed)
    hard = draw.normal(size=rows)
    confidence = {}
    scores = {"accuracy": {}, "nll": {}, "brier": {}}
    for who in ("a", "b", "ensemble"):
        logit = hard + draw.normal(size=(seeds, rows)) / 2 + 1
        chance = (1 / (1 + np.exp(-logit))).astype(np.float32)
        scores["accuracy"][who] = (chance > 0.5).astype(np.float32)
        scores["nll"][who] = -np.log(chance)
        scores["brier"][who] = 2 * (1 - chance) ** 2
        confidence[who] = np.maximum(chance, 1 - chance)
    block, kept = arm(scores)
    for metric in ("ece", "adaptive_ece"):
        of = {
            who: [
                calibration_scores(confidence[who][k], scores["accuracy"][who][k], metric).mean()
                for k in range(seeds)
            ]
            for who in confidence
        }
        for who in "ab":
            block["peers"][who][metric] = summary(of[who])
        block["mean_peer"][metric] = summary(np.mean([of["a"], of["b"]], 0).tolist())
        block["ensemble"][metric] = summary(of["ensemble"])
    for k, seed_rows in enumerate(kept):
        for who, of_who in seed_rows.scores.items():
            of_who["confidence"] = confidence[who][k]
    return block, kept


@pytest.mark.parametrize("metric", ["accuracy", "nll", "brier", "ece", "adaptive_ece"])
@pytest.mark.parametrize("who", ["a", "mean_peer", "ensemble"])
def test_every_metric_that_is_a_mean_over_rows_has_them(metric, who):
    one, other = noisy(0), noisy(1)
    found = compared(one, other)[who, metric]
    alone = compared((one[0], []), other)[who, metric]
    assert (found["covers"], found["rows"]) == ("seeds and test rows", ROWS)
    assert (found["differing_rows"] is not None) is (metric == "accuracy")
    assert (alone["covers"], alone["rows"], alone["differing_rows"]) == ("seeds", None, None)
    assert found["mean"] == pytest.approx(alone["mean"])
    assert found["half_with_twice_rows"] < (found["ci95"][1] - found["ci95"][0]) / 2


@pytest.mark.parametrize(("metric", "bins"), [("ece", equal_width), ("adaptive_ece", equal_mass)])
def test_row_scores_of_calibration_average_to_it(metric, bins):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=generator)
    correct = torch.rand(500, generator=generator) < confidence**2
    scores = calibration_scores(confidence.numpy(), correct.float().numpy(), metric)
    expected = calibration_error(bin_means(confidence, correct, bins(confidence)))
    assert scores.mean() == pytest.approx(expected, abs=1e-7)


def test_scores_of_something_else_are_left_alone():
    """Those that do not average to what was measured, or are of other rows in one arm."""
    one, other = noisy(0), noisy(1)
    block = one[0] | {"ensemble": one[0]["ensemble"] | {"nll": summary([0.1, 0.2, 0.3])}}
    assert compared((block, one[1]), other)["ensemble", "nll"]["covers"] == "seeds"
    assert compared((block, one[1]), other)["ensemble", "brier"]["rows"] == ROWS
    moved = [each._replace(row_set="others") for each in other[1]]
    assert compared(one, (other[0], moved))["ensemble", "nll"]["covers"] == "seeds"
    shorter = noisy(1, rows=ROWS - 1)
    assert compared(one, shorter)["ensemble", "nll"]["covers"] == "seeds"


def without(block_and_rows, metric, places):
    """The same with some rows that a metric is not of."""
    block, rows = block_and_rows
    scores = {}
    for who in ("a", "b", "ensemble"):
        kept = [np.delete(each.scores[who][metric], places) for each in rows]
        scores[who] = kept
        for each in rows:
            each.scores[who][metric] = each.scores[who][metric].copy()
            each.scores[who][metric][places] = np.nan
        found = summary([float(each.mean()) for each in kept])
        (block["peers"][who] if who in "ab" else block["ensemble"])[metric] = found
    means = np.mean([[each.mean() for each in scores[who]] for who in "ab"], 0)
    block["mean_peer"][metric] = summary(means.tolist())
    return block, rows


def test_rows_that_a_metric_is_not_of_are_left_out():
    pairs = [without(noisy(seed), "brier", [3, 7]) for seed in (0, 1)]
    assert compared(*pairs)["mean_peer", "brier"]["rows"] == ROWS - 2
    assert compared(*pairs)["mean_peer", "nll"]["rows"] == ROWS
    other = without(noisy(1), "brier", [3, 8])
    assert compared(pairs[0], other)["mean_peer", "brier"]["covers"] == "seeds"


def test_rows_of_which_nobody_knows_are_those_of_nobody_else():
    one, other = (
        (block, [each._replace(row_set="") for each in rows]) for block, rows in map(noisy, (0, 1))
    )
    assert compared(one, other)["mean_peer", "nll"]["covers"] == "seeds"


def test_folds_have_rows_of_their_own():
    pairs = [noisy(seed) for seed in (0, 1)]
    folds = [
        (block, [each._replace(row_set=f"fold {k}") for k, each in enumerate(rows)])
        for block, rows in pairs
    ]
    shared = compared(*pairs)["ensemble", "accuracy"]
    found = compared(*folds)["ensemble", "accuracy"]
    assert (found["rows"], found["rows_shared"]) == (3 * ROWS, False)
    assert found["covers"] == "seeds and test rows"
    assert found["half_with_twice_rows"] is None
    assert found["ci95"] != shared["ci95"]
    assert found["differing_rows"] > shared["differing_rows"]
    told = outcome(contrasts([found], METRICS)[0])
    assert "3 seeds with rows of their own, 600 test rows in all" in told


def test_peers_that_only_teach_are_not_in_the_mean():
    block, rows = noisy(0)
    teacher = [
        each._replace(scores=each.scores | {"teacher": {"nll": np.full(ROWS, 9.0)}})
        for each in rows
    ]
    block = block | {
        "members": ["a", "b"],
        "peers": block["peers"] | {"teacher": {"nll": summary([9.0] * 3)}},
    }
    assert compared((block, teacher), noisy(1))["mean_peer", "nll"]["rows"] == ROWS


def test_rows_are_read_where_every_run_kept_them(tmp_path: Path):
    runs = [tmp_path / f"seed-{seed}" for seed in (0, 1)]
    for run in runs:
        run.mkdir()
    write_row_scores(runs[0] / FILE, {"a": {"nll": np.ones(2, np.float32)}}, "these")
    assert read_rows(runs) is None
    write_row_scores(runs[1] / FILE, {"a": {"nll": np.zeros(2, np.float32)}}, "these")
    found = read_rows(runs)
    assert [each.row_set for each in found] == ["these"] * 2
    assert found[0].scores["a"]["nll"].tolist() == [1, 1]
    assert read_rows([]) is None
