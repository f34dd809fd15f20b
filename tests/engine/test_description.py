"""What a training is about to do, in words; and what observers are told of its steps."""

import numpy as np
import pytest
import torch

import peerlearn
from peerlearn.data.account import Account, LeftOut
from peerlearn.data.info import RowInfo
from peerlearn.data.words import data_facts, label_counts
from peerlearn.engine.description import described, edge_lines
from peerlearn.models import build_model
from peerlearn.systems.registry import RECIPES, find_recipe


def built(name, **overrides):
    recipe, given = find_recipe(name)
    return described(recipe.build(recipe.resolve(given, overrides)))


def info(*names, **rows):
    return RowInfo(
        name="mine", classes=len(names), class_names=names, rows=rows, sample_shape=(4,),
        dtype="float32", mean=(0.0,) * 4, std=(1.0,) * 4,
    )  # fmt: skip


def test_steps_are_those_of_the_optimiser():
    plain = built("dml", **{"epochs": 12, "data.train_size": 200, "batch_size": 64})
    assert plain["stages"] == ["mutual: 36 steps (12 epochs of 3 batches)"]
    halved = built("dml", **{"epochs": 1, "data.train_size": 200, "accumulate": 2})
    assert halved["stages"] == ["mutual: 2 steps (1 epoch of 2 batches)"]


@pytest.mark.parametrize(
    ("evaluation", "selects", "reports"),
    [
        (
            {},
            [
                "weights of each peer's epoch of best accuracy on val (180 rows)",
                "a, b: epochs 21 to 30, in which edges have their full weight",
            ],
            "test (360 rows)",
        ),
        ({"select": "last"}, ["weights of the last epoch"], "test (360 rows)"),
        (
            {"select": "mean_last", "report": "val+test"},
            ["mean over the last 5 epochs"],
            "val (180 rows) and test (360 rows)",
        ),
    ],
)
def test_what_selects_and_what_reports(evaluation, selects, reports):
    facts = built("dml", **{f"evaluation.{key}": value for key, value in evaluation.items()})
    assert facts["selects"] == selects
    assert facts["reports"] == [reports]


def test_edges_that_never_open_are_told_before_the_training():
    schedule = {"kind": "linear", "begin": 0.9, "over": 0.5}
    facts = built("dml", **{"transfer.weight_schedule": schedule})
    assert facts["selects"][1:] == ["a, b: the last epoch, for edges never have their full weight"]


def test_a_schedule_that_starves_few_rows_names_the_epochs_that_do_not():
    small = {"data.train_size": 200, "batch_size": 64}
    (said,) = built("dml", **small, epochs=12)["warning"]
    assert said == (
        "mutual: 36 steps per peer are few, training has hardly begun; epochs=34 makes at least 100"
    )
    assert "warning" not in built("dml", **small, epochs=34)
    many = {"stages.rotation.epochs": 1, "data.train_size": 200}
    (staged,) = built("discovery", **many)["warning"]
    assert staged.startswith("rotation: ") and "stages.rotation.epochs=" in staged
    (masks,) = built("styles-segment", **{"data.train_size": 24})["warning"]
    assert masks.endswith("epochs=100 makes at least 300")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train_long_enough_as_they_come(name):
    assert "warning" not in built(name)


@pytest.mark.parametrize(
    ("crop", "told"),
    [
        ({}, ["training sees windows of 256×40 of images of 300×40 (augment.crop)"]),
        ({"augment.crop": None}, []),
    ],
)
def test_windows_of_large_images_are_told(tmp_path, crop, told):
    x = np.zeros((12, 300, 40), np.uint8)
    y = np.arange(40)[None, None] * np.ones((12, 300, 1)) > 20
    y = y.astype(np.uint8)
    np.savez(tmp_path / "large.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    small = {f"peers.{name}.arguments.levels": 1 for name in ("teacher", "s1", "s2")}
    facts = built("styles-segment", data=str(tmp_path / "large.npz"), **small, **crop)
    assert facts.get("crops", []) == told


def test_stages_say_who_learns_and_what_is_no_step():
    facts = built("discovery", **{"data.train_size": 200})
    assert [line.partition(":")[0] for line in facts["stages"]] == [
        "rotation", "supervised", "start", "joint",
    ]  # fmt: skip
    assert facts["stages"][2] == "start: no gradient steps"
    assert "in which global learns" in facts["stages"][0]


def test_many_pairs_are_counted():
    edges = [
        {"from": a, "to": b, "knowledge": "predictions", "divergence": "kl"}
        for a in "abcd"
        for b in "abcd"
        if a != b
    ]
    (line,) = edge_lines(edges)
    assert line.startswith("a → b, a → c, a → d, b → a, b → c, b → d and 6 more: predictions")
    assert edge_lines([]) == ["none: peers learn alone"]


def test_classes_have_their_counts_and_empty_ones_are_named():
    facts = data_facts(info("cat", "dog", "cow", train=1003), Account(), [1000, 3, 0])
    assert facts["data"] == ["mine: 3 classes, rows of 4 (1,003 train)"]
    assert facts["classes"] == [
        "cat (1,000 training rows), dog (3), cow (0)",
        "without a training row: cow",
    ]
    assert facts["read"] == []


def test_many_classes_are_summed_up():
    names = [f"c{number}" for number in range(100)]
    counts = [*range(5, 104), 0]
    named, lacking = data_facts(info(*names, train=9), Account(), counts)["classes"]
    assert named == "c0, c1, c2, c3, c4, c5 and 94 more; 0 to 103 training rows each"
    assert lacking == "without a training row: c99"
    (alone,) = data_facts(info(*names, train=9), Account())["classes"]
    assert alone == "c0, c1, c2, c3, c4, c5 and 94 more"


def test_what_was_left_out_is_told():
    account = Account({"train": 3}, (LeftOut("hidden", (".a.png",)),), ("a note",))
    told = data_facts(info("a", "b", train=3), account)["read"]
    assert told == ["read 3 files: train 3", "left out 1 (hidden): .a.png", "a note"]


def test_labels_are_counted_where_there_is_one_a_row():
    assert label_counts(torch.tensor([2, -1, 0, 2]), 4) == [1, 0, 2, 0]
    assert label_counts(torch.ones(3, 2), 2) is None


def test_observers_of_fit_are_told_what_begins_and_where_steps_are():
    cohort = peerlearn.Cohort(
        {name: build_model("mlp", (64,), classes=3) for name in ("a", "b")}, transfer="none"
    )
    x, y = torch.randn(40, 64), torch.arange(40) % 3
    data = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    events = []
    peerlearn.fit(cohort, data, epochs=2, batch_size=12, observe=events.append)
    begin = events[0]
    assert begin["event"] == "begin"
    assert begin["facts"]["stages"] == ["fit: 6 steps (2 epochs of 3 batches)"]
    assert begin["batches"] == {"fit": 6}
    steps = [event for event in events if event["event"] == "step"]
    places = [(event["done"], event["epoch"], event["step"]) for event in steps]
    assert places == [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 1), (5, 2, 2), (6, 2, 3)]
    assert {(event["of"], event["steps"], event["stage"]) for event in steps} == {(2, 3, "fit")}
    assert all(event["loss"] > 0 for event in steps)
