"""A catalogue says what metrics are called, which way is better, and what weights are chosen by."""

import pytest

from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue, Metric
from peerlearn.tasks.discovery.metrics.assessment import METRICS as DISCOVERY
from peerlearn.tasks.segmentation.metrics import METRICS as SEGMENTATION

MASKS = Catalogue(SEGMENTATION)
TASKS = {"classification": CLASSIFICATION, "segmentation": SEGMENTATION, "discovery": DISCOVERY}


@pytest.mark.parametrize("metrics", TASKS.values(), ids=TASKS)
def test_metrics_of_a_task_differ_in_name_and_in_their_place_in_short_tables(metrics):
    assert len({metric.name for metric in metrics}) == len(metrics)
    places = [metric.brief for metric in metrics if metric.brief is not None]
    assert len(set(places)) == len(places)
    assert Catalogue(metrics).headlines
    for metric in metrics:
        assert metric.better or not (metric.headline or metric.selects)


@pytest.mark.parametrize(("better", "best"), [("higher", "b"), ("lower", "a"), (None, "b")])
def test_the_first_of_equals_is_the_best(better, best):
    metric = Metric("x", better=better)
    assert metric.best({"a": 1.0, "b": 2.0, "c": 2.0, "d": 1.0}) == best
    assert not metric.beats(1.0, 1.0)


def test_a_metric_of_a_class_is_that_metric_of_another_name():
    road = MASKS["hd95:road"]
    assert (road.name, road.label, road.better) == ("hd95:road", "HD95 of road", "lower")
    assert "hd95:road" not in MASKS
    assert (MASKS["iou"].titled, MASKS["nll"].titled) == ("IoU, %", "NLL")


def test_of_an_unknown_metric_nothing_is_claimed():
    unknown = MASKS["rank_loss"]
    assert (unknown.label, unknown.better, unknown.unit) == ("rank loss", None, "")
    assert MASKS.ordered(["rank_loss", "nll", "iou", "nll"]) == ["iou", "nll", "rank_loss"]


def test_the_main_metric_is_the_first_headline_or_else_the_first_at_all():
    assert MASKS.main(["nll", "accuracy", "dice"]) == "dice"
    assert MASKS.main(["ece", "nll"]) == "ece"
    assert MASKS.main([]) is None


def test_weights_are_chosen_by_what_is_measured_and_has_a_direction():
    assert MASKS.selecting("nll", "recipe 'x'") is MASKS["nll"]
    with pytest.raises(InputError) as error:
        Catalogue(CLASSIFICATION).selecting("acuracy", "recipe 'dml'")
    assert str(error.value) == (
        "evaluation.metric: 'acuracy' is not measured by recipe 'dml', did you mean 'accuracy'?; "
        "allowed: accuracy, nll"
    )
