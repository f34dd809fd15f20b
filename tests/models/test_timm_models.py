"""`timm:NAME` builds a network of timm, or says what is wrong.

What peerlearn asks of timm is seen with a stand-in; timm itself is asked where it can be imported, see
`make test-timm`.
"""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

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
        size = 3 * 8 * 8
        return nn.Sequential(nn.Flatten(), nn.Linear(size, arguments["num_classes"]))

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
    with pytest.raises(InputError, match="resnet81.*resnet18"):
        build_model("timm:resnet81", (3, 8, 8), 5)
    assert stand_in == []


def test_vectors_are_refused(stand_in):
    with pytest.raises(InputError, match=r"timm:resnet18 takes images .* vector of shape \(4,\)"):
        build_model("timm:resnet18", (4,), 5)


def test_what_timm_refuses_names_the_field(stand_in):
    with pytest.raises(InputError, match="peers.a: timm:resnet18 raised TypeError: .*img_size"):
        build_model("timm:resnet18", (3, 8, 8), 5, {"img_size": 8}, "peers.a")


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r'needs timm, .* pip install "peerlearn\[timm\]"'):
        build_model("timm:resnet18", (3, 8, 8), 5)


def test_other_libraries_are_unknown():
    assert MODELS.knows("timm:anything")
    with pytest.raises(InputError, match="tim:resnet18.*timm:NAME"):
        build_model("tim:resnet18", (3, 8, 8), 5)


def test_trains_as_a_peer(stand_in, tmp_path):
    import peerlearn

    recipe = peerlearn.recipe("dml", {"peers.*.model": "timm:resnet18", "epochs": 1})
    assert recipe.config.peers["a"].model == "timm:resnet18"


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_timm_itself(name):
    try:
        import timm
    except Exception as error:
        pytest.skip(f"timm cannot be imported here: {error}")
    network = build_model(f"timm:{name}", (1, 32, 32), 7)
    theirs = timm.create_model(name, num_classes=7, in_chans=1)
    assert network.state_dict().keys() == theirs.state_dict().keys()
    assert network.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
