"""A run that was cut short evaluates and predicts with the weights that it has so far."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_config

from peerlearn.engine.run_folder import RunFolder
from peerlearn.errors import InputError
from peerlearn.serving import Predictor, evaluate_run, open_run
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe


class Killed(Exception):
    pass


def cut(folder: Path, *overrides: str, epoch: int = 2) -> RunFolder:
    """A run of 6 epochs that ended after this one."""

    def observe(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == epoch:
            raise Killed

    config = tiny_config("epochs=6", "lr=0.05", *overrides)
    with pytest.raises(Killed):
        run_recipe(find_recipe("dml")[0], config, folder, observe=observe)
    return RunFolder(folder)


def same(module: torch.nn.Module, weights: dict) -> bool:
    return all(value.equal(weights[name]) for name, value in module.state_dict().items())


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch):
    monkeypatch.setattr("peerlearn.engine.checkpoint.SAVING_SHARE", 0)


def test_the_best_weights_so_far_count(tmp_path: Path) -> None:
    folder = cut(tmp_path, "transfer.weight_schedule=constant")
    run = open_run(tmp_path)
    assert all(same(run.cohort.peers[name], folder.load_best(name)) for name in "ab")
    best = {name: known["epoch"] for name, known in run.results["selected"].items()}
    assert run.unfinished == (
        "not finished, after epoch 2 of 6 (stage 'mutual'): best weights so far, "
        f"a of epoch {best['a']}, b of epoch {best['b']}"
    )
    (arm,) = evaluate_run(run)["arms"].values()
    assert 0 <= arm["ensemble"]["accuracy"]["mean"] <= 1
    np.save(tmp_path / "rows.npy", np.zeros((3, 8, 8), np.uint8))
    made = list(Predictor(run, "best").predict([tmp_path / "rows.npy"]))
    assert sum(len(each.probabilities) for each in made) == 3


def test_weights_from_before_edges_opened_are_those_of_the_last_epoch(tmp_path: Path) -> None:
    edge = "{from: a, to: b, weight_schedule: {kind: linear, begin: 0.5, over: 0.1}}"
    folder = cut(tmp_path, f"transfer={{edges: [{edge}]}}")
    run = open_run(tmp_path)
    best = run.results["selected"]["a"]["epoch"]
    assert run.unfinished.endswith(f"best weights so far, a of epoch {best}; b of epoch 2")
    assert same(run.cohort.peers["b"], folder.load_last()["peers"]["b"])


@pytest.mark.parametrize("averaged", [False, True])
def test_where_nothing_is_selected_those_of_the_checkpoint_count(tmp_path, averaged) -> None:
    options = ["evaluation.select=last", *(["ema=0.5"] if averaged else [])]
    state = cut(tmp_path, *options).load_last()
    run = open_run(tmp_path)
    assert run.unfinished == "not finished: weights of epoch 2 of 6 (stage 'mutual')"
    raw = same(run.cohort.peers["a"], state["peers"]["a"])
    assert raw != averaged
    if averaged:
        average = state["run"]["updates"]["a"]["average"]
        names = run.cohort.peers["a"].state_dict()
        assert same(run.cohort.peers["a"], {name: average[f"module.{name}"] for name in names})


def test_before_the_first_checkpoint_there_is_nothing_to_use(tmp_path: Path) -> None:
    folder = cut(tmp_path)
    folder.last.unlink()
    with pytest.raises(InputError, match=r"has saved no epoch yet; continue it by .*--resume"):
        open_run(tmp_path)
