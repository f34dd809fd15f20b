"""`timm:NAME` builds a network of timm, or says what is wrong.

What peerlearn asks of timm is seen with a stand-in; timm itself is asked where it can be imported,
see `make test-timm`.
"""

import importlib
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import peerlearn
from peerlearn.errors import InputError
from peerlearn.models import MODELS, build_model

NAMES = ["resnet18", "vit_tiny_patch16_224"]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What `timm.create_model` is called with."""
    asked: list[tuple[str, dict[str, Any]]] = []
    timm = ModuleType("timm")

    def create_model(name: str, **arguments: Any) -> nn.Module:
        asked.append((name, arguments))
        if "img_size" in arguments and name == "resnet18":
            raise TypeError("ResNet.__init__() got an unexpected keyword argument 'img_size'")
        pixels = arguments["in_chans"] * 8 * 8
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, arguments["num_classes"]))

    timm.create_model = create_model  # type: ignore[attr-defined]
    timm.is_model = lambda name: name.partition(".")[0] in NAMES  # type: ignore[attr-defined]
    timm.list_models = lambda: NAMES  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    return asked


def test_is_told_channels_and_classes(stand_in):
    network = build_model("timm:resnet18", (3, 8, 8), 5, {"drop_rate": 0.1})
    assert stand_in == [("resnet18", {"num_classes": 5, "in_chans": 3, "drop_rate": 0.1})]
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_names_of_pretrained_weights_and_of_the_hub_are_timm_s_own_business(stand_in):
    for name in ("resnet18.a1_in1k", "hf-hub:someone/network"):
        build_model(f"timm:{name}", (3, 8, 8), 5)
    assert [name for name, _ in stand_in] == ["resnet18.a1_in1k", "hf-hub:someone/network"]


def test_an_unknown_name_gets_the_nearest(stand_in):
    with pytest.raises(InputError, match=r"resnet81.*resnet18"):
        build_model("timm:resnet81", (3, 8, 8), 5)
    assert stand_in == []


def test_vectors_are_refused(stand_in):
    with pytest.raises(InputError, match=r"timm:resnet18 takes images .* vector of shape \(4,\)"):
        build_model("timm:resnet18", (4,), 5)


def test_what_timm_refuses_names_the_field(stand_in):
    with pytest.raises(InputError, match=r"peers.a: timm:resnet18 raised TypeError: .*img_size"):
        build_model("timm:resnet18", (3, 8, 8), 5, {"img_size": 8}, "peers.a")


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r'needs timm, .* pip install "peerlearn\[timm\]"'):
        build_model("timm:resnet18", (3, 8, 8), 5)


def test_other_libraries_are_unknown():
    assert MODELS.knows("timm:anything")
    with pytest.raises(InputError, match=r"tim:resnet18.*timm:NAME"):
        build_model("tim:resnet18", (3, 8, 8), 5)


def test_trains_as_a_peer_and_is_loaded_again(stand_in, tmp_path):
    small = {"data.train_size": 60, "epochs": 1, "threads": 1}
    recipe = peerlearn.recipe("dml", {"peers.*.model": "timm:resnet18"} | small)
    recipe.run(out=tmp_path / "run")
    outputs = peerlearn.load(tmp_path / "run").predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert outputs.probabilities.shape == (2, 10)
    assert {name for name, _ in stand_in} == {"resnet18"}


@pytest.fixture
def timm() -> ModuleType:
    """timm itself, or the test is skipped; where PEERLEARN_NEEDS_TIMM is set it must be there."""
    try:
        return importlib.import_module("timm")
    except Exception as error:
        if os.environ.get("PEERLEARN_NEEDS_TIMM"):
            raise
        pytest.skip(f"timm cannot be imported here, see make test-timm: {error}")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_timm_itself(timm, name):
    network = build_model(f"timm:{name}", (1, 32, 32), 7)
    theirs = timm.create_model(name, num_classes=7, in_chans=1)
    assert network.state_dict().keys() == theirs.state_dict().keys()
    assert network.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_timm_itself_names_the_nearest(timm):
    with pytest.raises(InputError, match=r"resnet81.*resnet18"):
        build_model("timm:resnet81", (3, 32, 32), 7)


def test_a_network_of_timm_is_purified(timm, tmp_path):
    """Its weights are read, purified, and taken by timm's own network again."""
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    y = np.arange(30) % 3
    rows = np.random.default_rng(0).integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "clean.npz", x=rows, y=y)
    words = ["purify", "model.safetensors", "--network", "timm:resnet10t", "--clean", "clean.npz"]
    brief = ["--method", "ft", "--out", "purified", "epochs=1", "device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "peerlearn", *words, *brief], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    network.load_state_dict(load_file(tmp_path / "purified" / "purified.safetensors"))
