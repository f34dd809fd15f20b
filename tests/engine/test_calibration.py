"""Peers calibrated after training, and wherever the run is put to use."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_trainer
from torch import nn

import peerlearn
from peerlearn.data.datasets import Dataset
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec
from peerlearn.engine.calibration import (
    Division,
    set_temperature,
    temperature_of,
    uncalibrated,
)
from peerlearn.errors import InputError
from peerlearn.serving import evaluate_run, open_run
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.transfer.outputs import PeerOutput

WORDS = ["epochs=8", "lr=0.1", "transfer.weight_schedule=constant"]
ON = "evaluation.calibrate=temperature"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same training, calibrated and not."""
    folder, recipe = tmp_path_factory.mktemp("calibrated"), find_recipe("dml")[0]
    for name, words in (("plain", WORDS), ("calibrated", [*WORDS, ON])):
        run_recipe(recipe, tiny_config(*words), folder / name)
    return {name: folder / name for name in ("plain", "calibrated")}


def arm_of(run: Path) -> Any:
    return open_run(run).results["arms"]["mutual"]


def test_validation_is_more_likely_and_accuracy_as_it_was(runs: dict[str, Path]) -> None:
    plain, calibrated = arm_of(runs["plain"]), arm_of(runs["calibrated"])
    for name in ("a", "b"):
        known = {key: it["mean"] for key, it in calibrated["calibration"][name].items()}
        assert known["temperature"] != 1
        assert known["validation_nll"] < known["validation_nll_before"]
        for metric in ("nll", "ece"):
            assert known[f"{metric}_before"] == plain["peers"][name][metric]["mean"]
            assert plain["peers"][name][metric] != calibrated["peers"][name][metric]
        assert plain["peers"][name]["accuracy"] == calibrated["peers"][name]["accuracy"]
    assert "temperature" not in calibrated["calibration"]["ensemble"]
    assert "calibration" not in plain


def test_weights_are_those_of_the_training_and_the_header_has_the_temperature(
    runs: dict[str, Path],
) -> None:
    for name in ("a", "b"):
        files = [runs[run] / f"checkpoints/best/{name}.safetensors" for run in runs]
        first, second = (load_file(path) for path in files)
        assert all(torch.equal(first[key], second[key]) for key in first)
        headers = [safe_open(path, "pt").metadata() for path in files]
        assert "temperature" not in headers[0]
        found = arm_of(runs["calibrated"])["calibration"][name]["temperature"]["mean"]
        assert float(headers[1]["temperature"]) == found


def test_eval_predict_and_the_loaded_module_agree(runs: dict[str, Path]) -> None:
    run, opened = peerlearn.load(runs["calibrated"]), open_run(runs["calibrated"])
    again = evaluate_run(opened)["arms"]["mutual"]
    assert again["peers"] == arm_of(runs["calibrated"])["peers"]
    assert again["ensemble"] == arm_of(runs["calibrated"])["ensemble"]
    assert set(again["calibration"]["a"]) == {"temperature"}
    test = load_dataset(DataSpec(name="digits")).test
    x = run.preprocess(test.x[:9])
    each = []
    for name in ("a", "b"):
        each.append(run.peer(name)(x).logits.softmax(1))
        assert torch.allclose(each[-1], run.predict(test.x[:9], name).probabilities, atol=1e-6)
    assert torch.allclose(run.ensemble(x), torch.stack(each).mean(0), atol=1e-6)
    plain = peerlearn.load(runs["plain"]).peer("a")(x).logits
    temperature = temperature_of(run.peer("a"))
    assert temperature is not None
    assert torch.allclose(run.peer("a")(x).logits, plain / temperature, atol=1e-5)


def test_exports_carry_it(runs: dict[str, Path], tmp_path: Path) -> None:
    run = peerlearn.load(runs["calibrated"])
    rows = load_dataset(DataSpec(name="digits")).test.x[:4]
    program = torch.export.load(run.export(tmp_path / "a.pt2", "a")).module()
    assert torch.allclose(program(rows), run.predict(rows, "a").probabilities, atol=1e-5)
    header = safe_open(run.export(tmp_path / "a.safetensors", "a"), "pt").metadata()
    assert float(header["temperature"]) == temperature_of(run.peer("a"))
    both = safe_open(run.export(tmp_path / "all.safetensors", "ensemble"), "pt").metadata()
    assert both["temperatures"].startswith('{"a": ')


def test_a_run_that_is_cut_before_its_end_is_calibrated_alike(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 8:
            raise Killed

    recipe, config = find_recipe("dml")[0], tiny_config(*WORDS, ON)
    with pytest.raises(Killed):
        run_recipe(recipe, config, tmp_path, observe=kill)
    run_recipe(recipe, config, tmp_path, resume=True)
    expected, found = arm_of(runs["calibrated"]), arm_of(tmp_path)
    assert found["calibration"] == expected["calibration"]
    assert found["peers"] == expected["peers"]


def test_the_temperature_is_fitted_on_the_few_labels_that_there_are() -> None:
    few, all_of_them = (
        tiny_trainer(*WORDS, "evaluation.select=last", "data.labels=50", *words, ON).run()
        for words in ([], ["data.val_labels=all"])
    )
    temperatures = [
        {name: it.get("temperature") for name, it in result.block["calibration"].items()}
        for result in (few, all_of_them)
    ]
    assert temperatures[0] != temperatures[1]


@pytest.mark.parametrize(
    ("words", "recipe", "said"),
    [
        (["evaluation.report=val+test", "evaluation.select=last"], "dml", "there are no such here"),
        (["evaluation.select=mean_last"], "dml", "with evaluation.select 'mean_last'"),
        ([], "discovery", "there are no such here"),
        ([], "styles-segment", "there are no such here"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(words: list[str], recipe: str, said: str) -> None:
    small = {"data.train_size": 64} if recipe == "discovery" else {}
    changes = small | dict(word.split("=") for word in [*words, ON])
    with pytest.raises(InputError, match=rf"evaluation\.calibrate: found 'temperature'.*{said}"):
        peerlearn.recipe(recipe, changes).system.build(peerlearn.recipe(recipe, changes).config)


def test_nodes_are_calibrated_too() -> None:
    changes = {"epochs": 40, "evaluation.calibrate": "temperature", "peers.gat": None}
    arm = peerlearn.recipe("gml-node", changes).run()["arms"]["full"]
    for name in arm["peers"]:
        known = arm["calibration"][name]
        assert known["validation_nll"]["mean"] < known["validation_nll_before"]["mean"]


def test_a_cohort_that_trains_again_trains_without_it() -> None:
    data = load_dataset(DataSpec(name="digits", train_size=100))
    assert isinstance(data, Dataset)

    def fitted(times: int) -> tuple[float | None, torch.Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        start = {key: value.clone() for key, value in net.state_dict().items()}
        cohort = peerlearn.Cohort({"a": net}, transfer="none")
        for _ in range(times):
            net.load_state_dict(start)
            peerlearn.fit(cohort, data, 2, lr=0.5, evaluation={"calibrate": "temperature"})
        return temperature_of(net), net.eval()(torch.ones(1, 64))

    once, twice = fitted(1), fitted(2)
    assert once[0] is not None and once[0] == twice[0]
    assert torch.equal(once[1], twice[1])


def test_a_division_acts_in_evaluation_alone_and_can_be_lifted() -> None:
    net = nn.Linear(3, 2)
    x, plain = torch.ones(1, 3), net(torch.ones(1, 3))
    set_temperature(net, 4.0)
    set_temperature(net, 2.0)
    assert torch.equal(net.train()(x), plain)
    assert torch.equal(net.eval()(x), plain / 2)
    with uncalibrated([net]):
        assert torch.equal(net(x), plain)
    assert temperature_of(net) == 2
    set_temperature(net, None)
    assert torch.equal(net(x), plain) and temperature_of(net) is None


def test_whatever_a_network_gives_keeps_its_features() -> None:
    module, z = nn.Identity().eval(), torch.ones(1, 2)
    output = Division(2.0)(module, (), PeerOutput(z, {"pooled": z}))
    assert torch.equal(output.logits, z / 2) and torch.equal(output.features["pooled"], z)
    assert torch.equal(Division(2.0)(module, (), {"logits": z}).logits, z / 2)


@pytest.mark.parametrize("said", ["warm", "-1", "nan"])
def test_a_damaged_temperature_is_named(runs: dict[str, Path], tmp_path: Path, said: str) -> None:
    import shutil

    run = Path(shutil.copytree(runs["calibrated"], tmp_path / "run"))
    path = run / "checkpoints/best/a.safetensors"
    save_file(load_file(path), path, metadata={"temperature": said})
    with pytest.raises(InputError, match=rf"a\.safetensors: temperature: found '{said}'"):
        _ = peerlearn.load(run).peers
