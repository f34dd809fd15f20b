"""What holds for every defence; what it does is in the file of its name."""

import inspect
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from tiny_backdoor import (
    SIDE,
    TinyCNN,
    acc_asr,
    clean_rows,
    images,
    made,
    poisoned,
    purified,
    state,
)
from torch import nn

from peerlearn.data.datasets import Split
from peerlearn.errors import InputError
from peerlearn.randomness import seeded_rng
from peerlearn.systems.backdoor.defences import DEFENCES, AnyDefence, anp, rnp
from peerlearn.systems.backdoor.defences.base import Defence
from peerlearn.systems.backdoor.defences.masks import prune
from peerlearn.systems.backdoor.defences.tuning import fine_tune

#: Options that keep a method short.
SHORT: dict[str, dict[str, Any]] = {
    "fp": {},
    "ft-sam": {"epochs": 1},
    "fst": {"epochs": 1},
    "nad": {"teacher_epochs": 1, "epochs": 1},
    "anp": {"iterations": 20, "lr": 0.05, "alpha": 0.0},
    "ibau": {"rounds": 1, "steps": 3},
    "rnp": {"epochs": 5},
}
#: By method and option: another value.
OTHER: dict[str, dict[str, Any]] = {
    "fp": {"tolerance": 0.6, "step": 0.5},
    "ft-sam": {
        "rho": 0.5,
        "adaptive": False,
        "label_smoothing": 0.0,
        "epochs": 2,
        "lr": 0.02,
    },
    "fst": {"alpha": 0.3, "epochs": 2, "lr": 0.02},
    "nad": {
        "teacher_epochs": 2,
        "epochs": 2,
        "lr": 0.02,
        "betas": (1.0, 1.0),
    },
    "anp": {
        "eps": 0.1,
        "steps": 3,
        "alpha": 1.0,
        "iterations": 60,
        "lr": 0.01,
        "tolerance": 0.6,
    },
    "ibau": {
        "rounds": 2,
        "steps": 5,
        "lr": 2e-3,
        "portion": 0.5,
        "order": "first",
        "iterations": 1,
    },
    "rnp": {
        "unlearn_lr": 0.003,
        "stop": 0.7,
        "epochs": 20,
        "lr": 0.05,
        "alpha": 1.0,
        "tolerance": 0.6,
    },
}
OPTIONS = [(method, option) for method, options in OTHER.items() for option in options]
#: Methods that work on the last linear layer.
LINEAR = ("fp", "fst")
#: Methods that mask the channels of BatchNorm.
NORMS = ("anp", "rnp")


def test_every_option_is_tried() -> None:
    tried = {method: {"method", *options} for method, options in OTHER.items()}
    assert tried == {method: set(kind.model_fields) for method, kind in DEFENCES.items()}


@pytest.mark.parametrize(("method", "option"), OPTIONS)
def test_an_option_acts(method: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[Any] = []

    def seen(network: nn.Module, layers: Any, found: Any, *rest: Any) -> float | None:
        masks.append({name: mask.tolist() for name, mask in found.items()})
        return prune(network, layers, found, *rest)

    for module in (anp, rnp):  # of a few channels the same may go, though masks differ
        monkeypatch.setattr(module, "prune", seen)
    changes = ({}, {option: OTHER[method][option]})
    networks = [purified(method, **SHORT[method] | change) for change in changes]
    if method in NORMS and option != "tolerance":
        assert masks[0] != masks[1]
    else:
        assert state(networks[0]) != state(networks[1])


@pytest.mark.parametrize("method", DEFENCES)
def test_equal_seeds_give_equal_weights_whatever_ran_before(method: str) -> None:
    first = purified(method, **SHORT[method])
    with seeded_rng(7):
        again = purified(method, **SHORT[method])
    assert state(first) == state(again)
    assert state(first) != state(poisoned().network), "the defence changed nothing"


@pytest.mark.parametrize("method", DEFENCES)
def test_modes_generators_and_hooks_are_left_as_they_were(method: str) -> None:
    network = poisoned().network.train()
    network.get_submodule("drop").eval()
    modes = {name: part.training for name, part in network.named_modules()}
    shapes = {name: (each.dtype, each.shape) for name, each in network.state_dict().items()}
    before = torch.get_rng_state()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made(method, **SHORT[method]).purify(network, clean_rows())
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert {name: part.training for name, part in network.named_modules()} == modes
    assert {n: (e.dtype, e.shape) for n, e in network.state_dict().items()} == shapes
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())
    for part in network.modules():
        assert not part._forward_hooks and not part._forward_pre_hooks


def test_modes_do_not_change_what_is_made() -> None:
    for method in DEFENCES:
        training = poisoned().network.train()
        made(method, **SHORT[method]).purify(training, clean_rows())
        assert state(training) == state(purified(method, **SHORT[method])), method


@pytest.mark.parametrize("method", DEFENCES)
def test_no_argument_takes_a_trigger(method: str) -> None:
    assert list(inspect.signature(DEFENCES[method].purify).parameters) == [
        "self",
        "network",
        "clean",
    ]


@pytest.mark.parametrize("method", DEFENCES)
def test_rows_of_one_class_are_refused_by_what_learns_from_them(method: str) -> None:
    rows = images(64, "one class")
    of_two = clean_rows(Split(rows.x[rows.y == 2], rows.y[rows.y == 2]))
    network = poisoned().network
    if method == "fp":  # learns nothing: what sleeps on a class is told by that class
        made(method).purify(network, of_two)
        return
    before = state(network)
    with pytest.raises(InputError, match=f"'{method}': the clean rows are all of class 2; it need"):
        made(method).purify(network, of_two)
    assert state(network) == before


@pytest.mark.parametrize("method", LINEAR)
def test_a_network_without_a_last_linear_layer_is_refused_by_name(method: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, SIDE), nn.Flatten())
    with pytest.raises(InputError, match=f"'{method}': needs a network whose logits come from an"):
        made(method).purify(network, clean_rows())


@pytest.mark.parametrize("method", NORMS)
@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(1, affine=False)])
def test_a_network_without_scales_of_batchnorm_is_refused_by_name(
    method: str, norm: nn.Module
) -> None:
    network = nn.Sequential(norm, nn.Flatten(), nn.Linear(SIDE * SIDE, 4))
    with pytest.raises(InputError, match=f"'{method}': needs a network with BatchNorm, whose cha"):
        made(method).purify(network, clean_rows())


def test_a_defence_is_chosen_by_its_name_or_a_mapping() -> None:
    chosen: TypeAdapter[Defence] = TypeAdapter(AnyDefence)
    for method, kind in DEFENCES.items():
        assert type(chosen.validate_python(method)) is kind
    assert chosen.validate_python({"method": "fst", "alpha": 0.2}) == made("fst", alpha=0.2)
    assert chosen.dump_python(made("fst", alpha=0.2))["alpha"] == 0.2
    with pytest.raises(ValueError, match=r"method: found 'ftsam'\. Did you mean 'ft-sam'"):
        chosen.validate_python("ftsam")


def test_the_backdoor_works_and_plain_tuning_leaves_it() -> None:
    given = poisoned()
    accuracy, success = acc_asr(given.network, given)
    assert accuracy >= 0.95 and success >= 0.95
    fine_tune(given.network, given.clean, epochs=10, lr=0.01)
    assert acc_asr(given.network, given)[1] >= 0.95, "what defences remove here goes by itself"


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fp", {}),
        ("fst", {"epochs": 30, "alpha": 0.3}),
        ("ibau", {"steps": 12, "portion": 0.1}),
    ],
)
def test_a_defence_removes_the_backdoor(method: str, options: dict[str, Any]) -> None:
    given = poisoned()
    before, _ = acc_asr(given.network, given)
    after, success = acc_asr(purified(method, **options), given)
    assert success < 0.3 and after > before - 0.1


def test_plain_logits_will_do() -> None:
    class Plain(nn.Module):
        def __init__(self, inner: TinyCNN) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x).logits

    for method in DEFENCES.keys() - {"nad"}:
        network = Plain(poisoned().network)
        made(method, **SHORT[method]).purify(network, clean_rows())
        assert state(network.inner) == state(purified(method, **SHORT[method])), method
