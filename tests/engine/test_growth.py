"""Runs that get more epochs, and stages that end before theirs are over."""

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_trainer, weights
from tiny_stages import timeless

from peerlearn.engine.files import load_state
from peerlearn.errors import InputError
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

#: Nothing follows a schedule, so that longer is the same as more.
LEVEL = ["lr_schedule={kind: constant, warmup: 0}", "transfer.weight_schedule=constant", "lr=0.05"]


def run(folder: Path, *overrides: str, resume: bool = False, events: list | None = None) -> dict:
    said = [] if events is None else events
    config = tiny_config(*LEVEL, *overrides)
    return run_recipe(find_recipe("dml")[0], config, folder, resume, said.append)


def measured(results: dict) -> dict:
    (arm,) = results["arms"].values()
    return {key: arm[key] for key in ("peers", "mean_peer", "ensemble")}


@pytest.mark.parametrize("select", ["best", "last", "mean_last"])
def test_without_schedules_more_epochs_equal_a_longer_run(tmp_path: Path, select: str) -> None:
    options = [f"evaluation.select={select}", "evaluation.last_epochs=3", "ema=0.9"]
    whole = run(tmp_path / "whole", *options, "epochs=5")
    run(tmp_path / "grown", *options, "epochs=2")
    events: list[dict] = []
    grown = run(tmp_path / "grown", *options, "epochs=5", resume=True, events=events)
    assert measured(grown) == measured(whole)
    assert grown["selected"] == whole["selected"]
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    assert note.startswith("epochs: 2 became 5. From here on learning rate and edges follow")
    assert grown["stages"] == {"mutual": {"epochs": 5, "of": [2, 5]}}
    assert "stages" not in whole
    assert yaml.safe_load((tmp_path / "grown" / "config.yaml").read_text())["epochs"] == 5
    records = [json.loads(x) for x in (tmp_path / "grown/metrics.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r["of"]) for r in records] == [(1, 2), (2, 2), (3, 5), (4, 5), (5, 5)]
    for peer in "ab":
        one, two = (
            load_state(tmp_path / name / "checkpoints/last/state.safetensors")["peers"][peer]
            for name in ("whole", "grown")
        )
        assert all(one[key].equal(two[key]) for key in one)


def test_the_schedule_is_that_of_the_new_length(tmp_path: Path) -> None:
    options = ["lr_schedule={kind: linear, warmup: 0}"]
    run_recipe(find_recipe("dml")[0], tiny_config(*options, "epochs=2"), tmp_path)
    run_recipe(find_recipe("dml")[0], tiny_config(*options, "epochs=4"), tmp_path, resume=True)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "metrics.jsonl").open()]
    assert rates[1] < rates[2], "the third of four epochs is faster than the second of two"


def test_fewer_epochs_are_refused(tmp_path: Path) -> None:
    run(tmp_path, "epochs=2")
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(InputError, match=r"epochs: was 2, now 1\n\(a run can get more epochs"):
        run(tmp_path, "epochs=1", resume=True)
    with pytest.raises(InputError, match=r"batch_size: was 32, now 16"):
        run(tmp_path, "epochs=3", "batch_size=16", resume=True)
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_stage_that_others_have_gone_on_from_cannot_grow(tmp_path: Path) -> None:
    recipe, given = find_recipe("styles-classify")
    small = {"data.train_size": 32, "batch_size": 32, "epochs": 1, "threads": 1, "arm": "kdml-v4"}
    small |= {"peers.teacher.arguments.width": 8, "stages.teacher.epochs": 1}
    run_recipe(recipe, recipe.resolve(given, small), tmp_path)
    before = (tmp_path / "config.yaml").read_bytes()
    longer = recipe.resolve(given, small | {"stages.teacher.epochs": 2})
    with pytest.raises(InputError, match=r"stages\.teacher\.epochs: was 1, now 2, but stage"):
        run_recipe(recipe, longer, tmp_path, resume=True)
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert (tmp_path / "results.json").exists()
    run_recipe(recipe, recipe.resolve(given, small | {"epochs": 2}), tmp_path, resume=True)


PATIENT = [
    "epochs=12",
    "lr=0.3",
    "evaluation.patience=1",
    "evaluation.metric=nll",
    "transfer.weight_schedule=constant",
]


def test_a_stage_ends_when_no_peer_gets_better(tmp_path: Path) -> None:
    results = run_recipe(find_recipe("dml")[0], tiny_config(*PATIENT), tmp_path)
    stage = results["stages"]["mutual"]
    assert stage == {"epochs": stage["epochs"], "of": [12], "stopped": "patience"}
    assert stage["epochs"] == 1 + max(peer["epoch"] for peer in results["selected"].values()) < 12
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record.get("stopped") for record in records][-2:] == [None, "patience"]


@pytest.mark.parametrize("cut", [1, 2])
def test_patience_resumes_exactly(tmp_path: Path, cut: int) -> None:
    class Killed(Exception):
        pass

    def kill(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == cut:
            raise Killed

    whole = tiny_trainer(*PATIENT, folder=tmp_path / "whole")
    expected = whole.run()
    trainer = tiny_trainer(*PATIENT, folder=tmp_path / "cut")
    trainer.observe = kill
    with pytest.raises(Killed):
        trainer.run()
    again = tiny_trainer(*PATIENT, folder=tmp_path / "cut")
    assert timeless(again.run(resume=True).history) == timeless(expected.history)
    assert weights(again) == weights(whole)
    ended = tiny_trainer(*PATIENT, folder=tmp_path / "cut")
    assert timeless(ended.run(resume=True).history) == timeless(expected.history)


def test_patience_needs_a_best_epoch() -> None:
    with pytest.raises(InputError, match=r"evaluation\.patience: found 2 with .*'last'"):
        tiny_trainer("evaluation.patience=2", "evaluation.select=last")


def test_selected_weights_of_another_shape_are_refused_before_it_goes_on(tmp_path: Path) -> None:
    run(tmp_path, "epochs=1")
    file = tmp_path / "checkpoints" / "best" / "a.safetensors"
    save_file({name: it.unsqueeze(-1) for name, it in load_file(file).items()}, file)
    with pytest.raises(InputError, match=r"a\.safetensors: does not fit peer 'a': .* expected of"):
        run(tmp_path, "epochs=2", resume=True)
