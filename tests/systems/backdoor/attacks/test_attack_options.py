"""Invariant 6: every option of every attack changes what it makes; the page names them all."""

from pathlib import Path

import pytest
import torch
from every_option import documented_options
from tiny_attacks import attack_of, poisoned, small_images

from peerlearn.systems.backdoor import attacks
from peerlearn.systems.backdoor.attacks import ATTACKS

ALL = {"target": 1, "ratio": 0.2, "to": "all"}
CLEAN = {"target": 1, "ratio": 0.2}
#: Of every attack, options under which it is fast and none hides another, and other values.
OPTIONS = {
    "badnets": ({}, ALL | {"size": 2, "pattern": "chequered"}),
    "blended": ({}, ALL | {"alpha": 0.3, "pattern": "noise", "image_seed": 1}),
    "sig": ({}, CLEAN | {"amplitude": 20, "frequency": 1}),
    "wanet": ({}, ALL | {"s": 1, "k": 3, "grid_rescale": 0.9, "cross_ratio": 1}),
    "label_consistent": (
        {"steps": 2, "amplitude": 20, "eps": 2},
        CLEAN | {"epochs": 1, "eps": 1, "step": 0.6, "steps": 1, "size": 2, "amplitude": 10},
    ),
    "narcissus": (
        {"rounds": 30, "ratio": 0.1},
        CLEAN | {"epochs": 1, "eps": 2, "rounds": 12, "magnify": 2},
    ),
    "trojan": (
        {"steps": 8, "size": 4},
        ALL
        | {"epochs": 1, "neurons": 1, "value": 0.01, "size": 3, "eps": 0.05, "step": 0.02}
        | {"steps": 2},
    ),
    "lf": (
        {"steps": 3},
        ALL | {"epochs": 1, "strength": 0.1, "sigma": 3, "rows": 20, "steps": 1},
    ),
    "input_aware": (
        {"epochs": 2, "mask_epochs": 2, "width": 4},
        ALL
        | {"epochs": 1, "mask_density": 0.5, "lambda_norm": 1, "lambda_div": 0.01}
        | {"mask_epochs": 1, "lr": 0.001, "width": 3, "cross_ratio": 0},
    ),
}  # fmt: skip
CASES = [(kind, option) for kind, (_, changes) in OPTIONS.items() for option in changes]


def outcome(kind, options):
    made = poisoned(kind, small_images(shape=(3, 8, 8)), **options)
    return made.data.train.x, made.data.train.y, made.triggered.x, made.aims


@pytest.mark.parametrize("kind", ATTACKS)
def test_invariant_6_every_option_of_an_attack_is_tried(kind):
    left = {"kind"} | ({"to"} if ATTACKS[kind].clean_label else set())
    assert set(documented_options(ATTACKS[kind], ())) - left == set(OPTIONS[kind][1])


@pytest.mark.parametrize(("kind", "option"), CASES)
def test_invariant_6_every_option_of_an_attack_acts(kind, option):
    before, changes = OPTIONS[kind]
    plain = outcome(kind, before)
    changed = outcome(kind, before | {option: changes[option]})
    same = [
        one.shape == other.shape and torch.equal(one, other)
        for one, other in zip(plain, changed, strict=True)
    ]
    assert not all(same), f"{option}={changes[option]} changed nothing"


@pytest.mark.parametrize("kind", ATTACKS)
def test_every_option_has_words_and_bounds_hold(kind):
    for name, field in ATTACKS[kind].model_fields.items():
        assert field.description or name == "kind", name
    with pytest.raises(ValueError, match="ratio: input should be less than or equal to 1"):
        attack_of(kind, ratio=2)


def test_the_page_has_a_line_for_every_attack_with_its_defaults():
    page = (Path(attacks.__file__).parent / "README.md").read_text("utf-8")
    lines = {kind: line for line in page.splitlines() for kind in ATTACKS if f"| `{kind}`" in line}
    for kind, attack in ATTACKS.items():
        for name, field in attack.model_fields.items():
            if name in ("kind", "target", "to", "image_seed"):
                continue
            if name == "ratio" and field.default == 0.1:
                continue
            said = "none" if field.default is None else field.default
            said = int(said) if isinstance(said, float) and said == int(said) else said
            assert f"`{name}` {said}" in lines[kind], f"{kind}: {name} {said}"
