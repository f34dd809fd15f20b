"""Arguments of optimisers are refused with the key that is wrong, before anything is trained."""

from typing import Any

import pytest
import torch
from torch import nn

from peerlearn.engine.optimisers import OptimiserSpec, optimiser_classes
from peerlearn.engine.settings import TrainingSpec
from peerlearn.errors import InputError
from peerlearn.validation import validated

WRONG = [
    ("sgd", {"momentum": "x"}, "momentum: found 'x'; expected a number"),
    ("sgd", {"momentum": True}, "momentum: found True; expected a number"),
    ("sgd", {"momentum": float("inf")}, "momentum: found inf"),
    ("sgd", {"weight_decay": -1}, "weight_decay: sgd of torch refuses weight_decay: -1"),
    ("sgd", {"weight_decay": 1e300}, "weight_decay: found 1e+300"),
    ("sgd", {"nesterov": True, "dampening": 0.5}, "nesterov: sgd of torch refuses"),
    ("sgd", {"nesterov": 1}, "nesterov: found 1; expected true or false"),
    ("sgd", {"fused": True, "foreach": True}, "fused: sgd of torch refuses"),
    ("sgd", {"maximize": True}, "maximize: training makes losses small"),
    ("adam", {"capturable": True}, "capturable: steps are not captured"),
    ("adam", {"differentiable": True}, "differentiable: nothing is"),
    ("adam", {"betas": 3}, "betas: found 3; expected 2 numbers, such as [0.9, 0.999]"),
    ("adam", {"betas": [0.9]}, "betas: found [0.9]; expected 2 numbers"),
    ("adam", {"betas": [0.9, 2]}, "betas: adam of torch refuses betas: [0.9, 2]"),
    ("adam", {"eps": -1}, "eps: adam of torch refuses eps: -1"),
    ("adam", {"amsgrad": "yes"}, "amsgrad: found 'yes'; expected true or false"),
    ("adafactor", {"d": 0}, "d: adafactor of torch refuses d: 0"),
    ("rprop", {"step_sizes": [1]}, "step_sizes: found [1]; expected 2 numbers"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        validated(TrainingSpec, {"optimiser": {"name": name} | arguments})
    assert str(error.value).startswith(f"optimiser.{said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", optimiser_classes())
def test_every_optimiser_takes_its_own_defaults(name: str) -> None:
    OptimiserSpec(name=name)


@pytest.mark.parametrize("own", [{"dampening": 0.5}, {"momentum": 0}, {"momentum": 0.0}])
def test_the_default_of_nesterov_gives_way(own: dict[str, float]) -> None:
    spec = OptimiserSpec.model_validate({"name": "sgd"} | own)
    optimiser = spec.build([nn.Parameter(torch.zeros(1))], 0.1)
    assert optimiser.defaults["nesterov"] is False
    assert {key: optimiser.defaults[key] for key in own} == own
