import math

import pytest
from scipy import stats

from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import CLASSIFICATION, COSTS, Catalogue
from peerlearn.report.statistics import contrasts, differences, paired_difference
from peerlearn.results import summary
from peerlearn.tasks.discovery.metrics.assessment import METRICS as DISCOVERY
from peerlearn.tasks.segmentation.metrics import METRICS as SEGMENTATION

METRICS = Catalogue([*CLASSIFICATION, *SEGMENTATION, *DISCOVERY, *COSTS.values()])


def winner(metric, **entry):
    """Which arm a difference of results.json, the only one there, shows to be better."""
    what = {"arm": "x", "against": "y", "who": "ensemble", "metric": metric, "mean": 0.0, "n": 5}
    (read,) = contrasts([what | entry], METRICS)
    return read.winner


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0.98, 0.97], [0.97, 0.95]),
        ([0.91, 0.93, 0.92], [0.90, 0.90, 0.93]),
        ([1.1, 0.4, 2.2, 0.3, 5.0], [1.0, 0.9, 2.0, 0.1, 4.0]),
    ],
)
def test_interval_agrees_with_the_paired_t_test_of_scipy(a, b):
    found = paired_difference(a, b)
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found["n"] == len(a)
    assert found["mean"] == pytest.approx(sum(a) / len(a) - sum(b) / len(b))
    assert found["ci95"] == pytest.approx([interval.low, interval.high])


def test_pairing_removes_what_seeds_share():
    shared, helped = [0.5, 0.7, 0.9], [0.510, 0.711, 0.912]
    low, high = paired_difference(helped, shared)["ci95"]
    assert 0 < low < 0.011 < high < 0.02


def test_one_pair_has_no_interval():
    found = paired_difference([0.75], [0.5])
    assert found == {"mean": 0.25, "ci95": None, "n": 1, "covers": None, "p": None}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0.75, 0.5], [0.5, 0.25]),
        ([0.5, 0.25], [0.5, 0.25]),
        ([0.1 + 0.2] * 3, [0.3] * 3),  # rounding only
        ([0.9175, 0.905, 0.9], [0.915, 0.9025, 0.8975]),  # as far as numbers can tell
        ([2.3, 1e-3, 0.7], [2.2, 1e-3 - 0.1, 0.6]),
    ],
)
def test_equal_differences_are_not_sure_ones(a, b):
    found = paired_difference(a, b)
    assert (found["ci95"], found["p"]) == (None, None)
    entries = [{"arm": "x", "against": "y", "who": "ensemble", "metric": "accuracy"} | found]
    assert contrasts(entries, METRICS)[0].side == ""


def test_unequal_numbers_of_seeds_do_not_make_pairs():
    with pytest.raises(InputError, match="3 and 2 values"):
        paired_difference([1, 2, 3], [1, 2])


def test_infinite_losses_do_not_raise():
    found = paired_difference([math.inf, 1.0], [1.0, math.inf])
    assert math.isnan(found["mean"])
    assert winner("nll", **found) is None


def arm(accuracy, nll, peers="ab", **more):
    metrics = {"accuracy": summary(accuracy), "nll": summary(nll)}
    return {
        "peers": dict.fromkeys(peers, metrics),
        "mean_peer": metrics,
        "ensemble": metrics,
        "cost": {"train_s": summary([1.0] * len(nll))},
        **more,
    }


def test_differences_cover_every_arm_and_metric_but_the_reference():
    arms = {
        "mutual": arm([0.9, 0.8], [0.3, 0.4]),
        "independent": arm([0.8, 0.7], [0.5, 0.4], peers="a"),
        "average": arm([0.7, 0.7], [0.5, 0.5]),
    }
    arms["mutual"]["mean_peer"] |= {"brier": summary([0.1, 0.1])}  # not measured by the reference
    entries = differences(arms, "independent")
    assert len(entries) == 2 * 3 * 2  # arms; a, mean_peer, ensemble; accuracy, nll
    assert {entry["who"] for entry in entries} == {"a", "mean_peer", "ensemble"}
    assert entries[0] == {
        "arm": "mutual",
        "against": "independent",
        "who": "a",
        "metric": "accuracy",
        "mean": pytest.approx(0.1),
        "ci95": None,
        "n": 2,
        **dict.fromkeys(("covers", "p", "rows", "rows_shared", "differing_rows")),
        **{f"half_with_twice_{what}": None for what in ("rows", "seeds")},
    }


def test_differences_name_what_does_not_fit():
    arms = {"mutual": arm([0.9], [0.3]), "independent": arm([0.8, 0.7], [0.5, 0.4])}
    with pytest.raises(InputError, match=r"Did you mean 'independent'\?"):
        differences(arms, "independant")
    with pytest.raises(
        InputError, match="'mutual' and 'independent': a accuracy has 1 and 2 seeds"
    ):
        differences(arms, "independent")


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        *((name, +1) for name in ("accuracy", "top5", "exact_match", "f1", "dice", "iou")),
        *((name, +1) for name in ("cluster_accuracy", "nmi", "ari")),
        *((name, -1) for name in ("nll", "ece", "adaptive_ece", "brier", "hd95")),
        *((name, 0) for name in ("entropy", "train_s", "peak_rss_mb", "agreement")),
    ],
)
def test_direction_of_every_metric(metric, expected):
    assert METRICS[metric].better == {+1: "higher", -1: "lower", 0: None}[expected]
    above, below = ({"mean": mean, "ci95": [mean - 0.05, mean + 0.05]} for mean in (0.15, -0.15))
    sides = {+1: ("arm", "against"), -1: ("against", "arm"), 0: (None, None)}[expected]
    assert (winner(metric, **above), winner(metric, **below)) == sides


@pytest.mark.parametrize("metric", ["iou:road", "dice:a@b"])
def test_single_classes_have_a_direction_and_are_not_tested(metric):
    assert METRICS[metric].better == "higher"
    assert winner(metric, mean=0.15, ci95=[0.1, 0.2]) is None


@pytest.mark.parametrize("ci95", [None, [-0.1, 0.2], [0.0, 0.1], [-0.1, 0.0], [0.0, 0.0]])
def test_nobody_is_better_unless_the_interval_excludes_zero(ci95):
    assert winner("accuracy", ci95=ci95) is None
