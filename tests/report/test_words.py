"""Sentences say what was shown, and what was not."""

import pytest

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.statistics import Contrast, contrasts
from peerlearn.report.words import interval_text, outcome, outcomes
from peerlearn.tasks.segmentation.metrics import METRICS as SEGMENTATION

METRICS = Catalogue([*SEGMENTATION, *CLASSIFICATION])


def difference(**changes) -> Contrast:
    entry = {
        "arm": "mutual",
        "against": "independent",
        "who": "mean_peer",
        "metric": "accuracy",
        "mean": 0.012,
        "ci95": [0.004, 0.020],
        "n": 5,
    }
    (read,) = contrasts([entry | changes], METRICS)  # the only one that was looked at
    return read


def test_a_shown_gain_is_told_with_its_interval():
    assert outcome(difference()) == (
        "mutual beats independent on mean-peer accuracy: +1.20 points "
        "(95 % interval [0.40, 2.00], 5 seeds)."
    )


def test_a_shown_loss_is_not_dressed_up():
    told = outcome(difference(mean=-0.012, ci95=[-0.020, -0.004]))
    assert told.startswith("mutual is worse than independent on mean-peer accuracy: −1.20 points")


def test_an_interval_with_zero_is_no_difference():
    told = outcome(difference(mean=0.002, ci95=[-0.004, 0.008]))
    assert told == (
        "No difference in mean-peer accuracy shown between mutual and independent: +0.20 points "
        "(95 % interval [−0.40, 0.80], 5 seeds); zero is inside."
    )


@pytest.mark.parametrize("ci95", [None, [float("nan"), float("nan")], []])
def test_one_seed_claims_nothing(ci95):
    told = outcome(difference(ci95=ci95, n=1))
    assert "One seed: no interval" in told
    assert "beats" not in told


def test_for_a_loss_lower_is_better():
    told = outcome(difference(metric="ece", mean=-0.021, ci95=[-0.030, -0.012]))
    assert told.startswith("mutual beats independent on mean-peer ECE: −2.10 points")


def test_calibration_follows_an_accuracy_that_did_not_move():
    told = outcomes(
        [
            difference(mean=0.002, ci95=[-0.004, 0.008]),
            difference(metric="ece", mean=-0.021, ci95=[-0.030, -0.012]),
        ],
        METRICS,
    )
    assert told[0].startswith("No difference in mean-peer accuracy")
    assert told[1] == "Calibration, not tested: ECE −2.10 points [−3.00, −1.20]."


def test_a_distance_is_told_in_pixels_and_shorter_is_better():
    told = outcome(difference(metric="hd95", mean=-1.25, ci95=[-2.0, -0.5]))
    assert told == (
        "mutual beats independent on mean-peer HD95: −1.25 px "
        "(95 % interval [−2.00, −0.50], 5 seeds)."
    )


def test_the_overlap_of_masks_tells_more_than_the_accuracy_of_pixels():
    told = outcomes([difference(), difference(metric="iou", mean=0.03, ci95=[0.02, 0.04])], METRICS)
    assert told[0].startswith("mutual beats independent on mean-peer IoU: +3.0 points")


def test_an_unknown_metric_is_neither_better_nor_worse():
    told = outcome(difference(metric="entropy", mean=0.5, ci95=[0.4, 0.6]))
    assert "beats" not in told
    assert "worse" not in told
    assert "includes zero" not in told


@pytest.mark.parametrize(
    ("ends", "written"),
    [
        ((0.004, 0.020), "[0.40, 2.00]"),
        ((0.004, 0.040), "[0.4, 4.0]"),
        ((0.0003, 0.0170), "[0.03, 1.70]"),  # excludes zero, which one decimal would hide
        ((-0.0003, 0.0100), "[−0.03, 1.00]"),  # includes it, likewise
        ((-0.0000002, 0.0100), "[−0.00002, 1.00000]"),
        ((0.0, 0.0100), "[0.00, 1.00]"),
    ],
)
def test_digits_agree_with_what_is_marked(ends, written):
    entry = difference(metric="ece", mean=sum(ends) / 2, ci95=list(ends))
    assert interval_text(entry) == written
    shows = not ("−" in written or written.startswith("[0.00,"))
    assert entry.excludes_zero == shows
