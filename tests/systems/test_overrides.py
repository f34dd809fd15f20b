"""Dotted overrides."""

import re

import pytest

from peerlearn.errors import InputError
from peerlearn.systems.overrides import apply_overrides, parse_assignments, taken_back


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("012", 12),
        ("yes", "yes"),
        ("-2.5E2", -250.0),
        ("true", True),
        ("null", None),
        ("none", "none"),
        ("[1, 2]", [1, 2]),
        ("{kind: linear, over: 0.2}", {"kind": "linear", "over": 0.2}),
        ("resnet8", "resnet8"),
        ("a=b", "a=b"),
        ("", None),
    ],
)
def test_values_are_yaml_with_honest_numbers(text: str, value: object) -> None:
    assert parse_assignments([f"key={text}"]) == {"key": value}


@pytest.mark.parametrize("wrong", ["epochs", "=3", "x=[1"])
def test_what_is_no_assignment_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"KEY=VALUE|not a YAML value"):
        parse_assignments([wrong])


def test_overrides_reach_into_blocks_and_make_missing_ones() -> None:
    before = {"peers": {"a": {"model": "cnn"}}, "epochs": 3}
    after = apply_overrides(before, {"peers.a.arguments.width": 2, "peers.b.model": "mlp"})
    assert after["peers"] == {
        "a": {"model": "cnn", "arguments": {"width": 2}},
        "b": {"model": "mlp"},
    }
    assert before == {"peers": {"a": {"model": "cnn"}}, "epochs": 3}, "the original was changed"


def test_a_short_form_grows_keys() -> None:
    after = apply_overrides(
        {"data": "digits", "optimiser": "sgd", "transfer": "none"},
        {"data.train_size": 5, "optimiser.momentum": 0.5, "transfer.update": "sequential"},
    )
    assert after["data"] == {"name": "digits", "train_size": 5}
    assert after["optimiser"] == {"name": "sgd", "momentum": 0.5}
    assert after["transfer"] == {"edges": "none", "update": "sequential"}


def test_a_plain_value_has_no_keys() -> None:
    with pytest.raises(InputError, match=r"epochs\.a: epochs is 3, which has no keys"):
        apply_overrides({"epochs": 3}, {"epochs.a": 1})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr=1", "lr=2"], "lr: given twice, 'lr=1' and 'lr=2'"),
        (["epochs=1", " epochs=1"], "epochs: given twice"),
    ],
)
def test_a_key_is_typed_once(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_assignments(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["transfer.weight=2", "transfer=none"], "transfer: would replace transfer.weight"),
        (["transfer={weight: 1}", "transfer.weight=2"], "transfer.weight: set twice, to 1 and 2"),
        (["peers.a.arguments.w=1", "peers={b: mlp}"], "peers: would replace peers.a.arguments.w"),
        (["peers={a: {model: x}}", "peers.a.model=y"], "peers.a.model: set twice, to 'x' and 'y'"),
        (["data=digits", "data.name=mnist"], "data.name: set twice, to 'digits' and 'mnist'"),
    ],
)
def test_a_key_beside_a_block_that_says_otherwise_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        apply_overrides({}, parse_assignments(words))


def test_a_key_adds_to_a_block_that_stands_before_it() -> None:
    words = ["optimiser=adam", "optimiser.eps=1e-3", "peers={a: {model: x}}", "peers.b.model=y"]
    assert apply_overrides({}, parse_assignments(words)) == {
        "optimiser": {"name": "adam", "eps": 0.001},
        "peers": {"a": {"model": "x"}, "b": {"model": "y"}},
    }


def test_a_star_is_every_name_but_those_that_are_set_themselves() -> None:
    peers = {"a": {"model": "cnn"}, "b": "mlp", "c": None}
    after = apply_overrides({"peers": peers}, {"peers.*": {"model": "mlp"}, "peers.a.view": 1})
    assert after["peers"] == {"a": {"model": "mlp", "view": 1}, "b": {"model": "mlp"}, "c": None}
    for order in (["peers.*.view", "peers.a.view"], ["peers.a.view", "peers.*.view"]):
        given = {"peers": {"a": {}, "b": {"view": 3}}}
        after = apply_overrides(given, {key: 1 if "*" in key else 2 for key in order})
        assert after == {"peers": {"a": {"view": 2}, "b": {"view": 1}}}
    both = apply_overrides({"p": {"a": {"q": {"x": 0, "y": 0}}}}, {"p.*.q.*": 1})
    assert both == {"p": {"a": {"q": {"x": 1, "y": 1}}}}
    kept = apply_overrides({"groups": {}}, {"groups.*_rho": 1})
    assert kept == {"groups": {"*_rho": 1}}, "a pattern is a name"


@pytest.mark.parametrize("key", ["arms.*.lr", "lr.*", "no.*"])
def test_a_star_that_is_nothing_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=rf"{re.escape(key)}.*there is nothing in"):
        apply_overrides({"lr": 0.1, "arms": {}}, {key: 1})


GIVEN = {
    "data": {"name": "digits"},
    "lr": 0.1,
    "peers": {"a": {"model": "cnn"}, "b": {"model": "cnn"}},
    "transfer": "none",
}


@pytest.mark.parametrize(
    ("typed", "arm", "lost"),
    [
        ({"lr": 0.2}, {}, {}),
        ({"lr": 0.2}, {"epochs": 3}, {}),
        ({"lr": 0.2}, {"lr": 0.2}, {}),
        ({"lr": 0.2}, {"lr": 0.3}, {"lr": "lr"}),
        ({"peers.a.model": "mlp"}, {"peers": {"one": {}}}, {"peers.a.model": "peers"}),
        ({"peers.*.model": "mlp"}, {"peers": {"one": {}}}, {"peers.*.model": "peers"}),
        (
            {"peers.a.model": "mlp"},
            {"peers.*.model": "resnet8"},
            {"peers.a.model": "peers.*.model"},
        ),
        ({"peers.b": None}, {"peers": {"one": {}}}, {}),
        ({"data": "mnist"}, {"data.val_share": 0}, {}),
        ({"data": "mnist"}, {"data.name": "digits"}, {"data": "data.name"}),
        ({"transfer": "none"}, {"transfer.edges": [{}]}, {"transfer": "transfer.edges"}),
        ({"peers": {"a": {"model": "mlp"}}}, {"peers.a.model": "cnn"}, {}),
        ({"lr": float("nan")}, {"epochs": 3}, {}),
    ],
)
def test_what_an_arm_takes_back_is_found(typed, arm, lost) -> None:
    assert taken_back(GIVEN, typed, arm) == lost
