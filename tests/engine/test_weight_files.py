"""Selected weights are plain files that any PyTorch program loads, and say what they are of."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import tiny_config
from torch import nn

import peerlearn
from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.weight_files import read_header, read_weights, write_weights
from peerlearn.errors import InputError
from peerlearn.results import Results
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe


def network(hidden: int = 4) -> nn.Module:
    """One of the user's own, named by a configuration."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


OLD = Path(__file__).parents[1] / "fixtures/runs"
OWN = f"peers.own={{model: 'python:{__name__}:network', arguments: {{hidden: 6}}}}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    out = tmp_path_factory.mktemp("weights") / "run"
    found, _ = find_recipe("dml")
    return out, run_recipe(found, tiny_config(OWN, "peers.b=null"), out)


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as stored:
        return stored.metadata()


def test_plain_pytorch_loads_the_network_that_trained(trained: tuple[Path, Results]) -> None:
    path = trained[0] / "checkpoints/best/own.safetensors"
    net = network(6)
    net.load_state_dict(load_file(path), strict=True)
    assert set(load_file(path)) == {"1.weight", "1.bias", "3.weight", "3.bias"}
    known = header(path)
    mean, std = (torch.tensor(json.loads(known[key])) for key in ("mean", "std"))
    from peerlearn.data.registry import load_dataset
    from peerlearn.data.spec import DataSpec

    test = load_dataset(DataSpec(name="digits")).test
    x = test.rows(torch.arange(len(test))).float() / 255
    said = net.eval()((x - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)).argmax(1)
    accuracy = (said == test.y).double().mean().item()
    reported = trained[1]["arms"]["mutual"]["peers"]["own"]["accuracy"]["mean"]
    assert accuracy == pytest.approx(reported, abs=1e-9)


def test_a_header_says_what_the_weights_are_of(trained: tuple[Path, Results]) -> None:
    out, results = trained
    known = header(out / "checkpoints/best/own.safetensors")
    assert known["format"] == "pt" and known["peerlearn_format"] == "2" and known["peerlearn"]
    assert (known["recipe"], known["peer"], known["data"]) == ("dml", "own", "digits")
    assert known["model"] == f"python:{__name__}:network"
    assert json.loads(known["arguments"]) == {"hidden": 6}
    assert json.loads(known["sample_shape"]) == [1, 8, 8] and known["dtype"] == "uint8"
    assert json.loads(known["class_names"]) == [str(number) for number in range(10)]
    assert known["classes"] == "10" and known["multilabel"] == "false"
    assert known["preprocessing"].startswith("(x / 255 - mean) / std")
    selected = results["selected"]["own"]
    assert known["metric"] == "accuracy" and int(known["epoch"]) == selected["epoch"]
    assert float(known["accuracy"]) == float(known["value"]) == selected["value"]


def test_weights_that_nobody_selected_say_no_epoch(tmp_path: Path) -> None:
    found, _ = find_recipe("dml")
    run_recipe(found, tiny_config("evaluation.select=last", "epochs=1"), tmp_path / "run")
    known = header(tmp_path / "run/checkpoints/best/a.safetensors")
    assert known["peer"] == "a" and not {"epoch", "metric"} & known.keys()


def test_tied_and_strided_weights_are_written_as_they_are(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    net.to(memory_format=torch.channels_last)
    net[2].weight = net[1].weight
    write_weights(tmp_path / "w.safetensors", net.state_dict(), {"peer": "a", "nothing": None})
    for name, tensor in load_file(tmp_path / "w.safetensors").items():
        assert torch.equal(tensor, net.state_dict()[name])
    assert len(read_weights(tmp_path / "w.safetensors")) == 6
    assert "nothing" not in read_header(tmp_path / "w.safetensors")


def test_files_of_the_first_format_are_read_by_their_own_names() -> None:
    found = RunFolder(OLD / "predictions").load_best("a")
    assert found and all(name.split(".")[0] in ("stages", "classifier") for name in found)


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.safetensors: no such file"):
        RunFolder(tmp_path).load_best("a")
    (tmp_path / "b.safetensors").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"b\.safetensors: not a whole safetensors file"):
        read_weights(tmp_path / "b.safetensors")


def test_fit_writes_such_files_too(tmp_path: Path) -> None:
    peers = {name: network() for name in ("a", "b")}
    cohort = peerlearn.Cohort(peers)
    peerlearn.fit(cohort, "digits", 1, folder=tmp_path / "fit", batch_size=256, threads=1)
    path = tmp_path / "fit/checkpoints/best/b.safetensors"
    net = network()
    net.load_state_dict(load_file(path), strict=True)
    assert torch.equal(net[1].weight, peers["b"][1].weight)
    known = header(path)
    assert known["model"] == "given:torch.nn.modules.container.Sequential"
    assert known["data"] == "digits"
    assert len(json.loads(known["mean"])) == len(json.loads(known["std"])) == 1
