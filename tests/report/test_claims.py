"""What is said of a whole comparison."""

import pytest

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.claims import ceiling, claims
from peerlearn.report.statistics import contrasts
from peerlearn.results import summary

METRICS = Catalogue(CLASSIFICATION)


def entry(**changes):
    given = {
        "arm": "mutual",
        "against": "independent",
        "who": "mean_peer",
        "metric": "accuracy",
        "mean": 0.0074,
        "ci95": [0.0050, 0.0099],
        "n": 8,
        "covers": "seeds and test rows",
        "p": 1e-5,
        "rows": 5000,
        "rows_shared": True,
        "differing_rows": 900,
        "half_with_twice_rows": 0.0016,
        "half_with_twice_seeds": 0.0019,
    }
    return given | changes


def arms(accuracy=0.65):
    return {"independent": {"mean_peer": {"accuracy": summary([accuracy] * 8)}}}


def said(*entries, accuracy=0.65):
    return claims(contrasts(entries, METRICS), arms(accuracy), METRICS)


def test_looks_coverage_and_what_more_would_give_are_told():
    each = [
        entry(arm=arm, who=who) for arm in ("a", "b", "mutual") for who in ("mean_peer", "ensemble")
    ]
    assert said(*each, entry(who="x"), entry(metric="nll", ci95=[-0.1, 0.1])) == [
        "6 comparisons looked at (accuracy of mean peer and ensemble, 3 arms), Holm at 5 %; other "
        "metrics and single peers are not tested.",
        "Intervals cover other seeds and other test rows, not other training rows.",
        "Twice the test rows would give about ±0.16, twice the seeds ±0.19.",
    ]


def test_intervals_over_seeds_only_are_called_so():
    old = {key: entry()[key] for key in ("arm", "against", "who", "metric", "mean", "ci95", "n")}
    alone = "over seeds only: not other test rows, nor other training rows."
    assert said(old)[1] == f"Intervals are {alone}"
    both = said(entry(), old | {"metric": "f1"})[1]
    assert both.endswith(f"not other training rows; those of f1 are {alone}")


@pytest.mark.parametrize("n", [1, 2])
def test_few_seeds_are_said_to_be_few(n):
    few = said(entry(n=n, p=None))
    assert few[0].startswith(f"{n} seed")
    assert "at least 3 are needed" in few[0]


@pytest.mark.parametrize(
    ("accuracy", "rows", "at_it"),
    [
        (0.996, None, True),
        (0.994, None, False),
        (0.98, 200, True),  # 4 rows wrong, and arms must differ on 6
        (0.96, 200, False),
        (0.98, 5000, False),
    ],
)
def test_peers_at_their_ceiling_are_told_of(accuracy, rows, at_it):
    (read,) = contrasts(
        [entry(rows=rows, covers="seeds and test rows" if rows else "seeds")], METRICS
    )
    told = ceiling(read, arms(accuracy))
    assert told.startswith("Independent peers are at their ceiling here: accuracy") is at_it
    assert ("Expect no gain; fewer labels or a harder task show more." in told) is at_it


def test_a_loss_has_no_ceiling():
    (read,) = contrasts([entry(metric="nll")], METRICS)
    block = {"independent": {"mean_peer": {"nll": summary([0.999] * 8)}}}
    assert ceiling(read, block) == ""


def test_where_nothing_was_compared_nothing_is_claimed():
    assert claims([], {}, METRICS) == []
