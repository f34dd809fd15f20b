"""Poisoned data as a file: what is in it, and what is refused of one that is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_attacks import attack_of, poisoned, small_images

from peerlearn.data.npz import read_npz, write_npz
from peerlearn.errors import InputError
from peerlearn.systems.backdoor.attacks.saved import poisoned_arrays, read_poisoned


def arrays_of(kind="wanet", **options):
    return poisoned_arrays(poisoned(kind, **options), attack_of(kind, **options))


@pytest.fixture
def saved(tmp_path):
    """`saved(name=array, …)` writes tiny data under BadNets with other arrays; None leaves out."""

    def save(**changes) -> Path:
        arrays = arrays_of("badnets") | changes
        write_npz(tmp_path / "p.npz", {k: v for k, v in arrays.items() if v is not None})
        return tmp_path / "p.npz"

    return save


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 12), (2, 8, 8)])
@pytest.mark.parametrize("options", [{}, {"to": "all", "ratio": 0.3}])
def test_what_is_written_is_read_again(tmp_path, shape, options):
    made, attack = poisoned("wanet", small_images(shape=shape), **options), attack_of("wanet")
    attack = attack_of("wanet", **options)
    write_npz(tmp_path / "p.npz", poisoned_arrays(made, attack))
    found = read_poisoned(tmp_path / "p.npz")
    assert found.attack == attack
    for part in ("train", "val", "test"):
        one, other = getattr(made.data, part), getattr(found.poisoned.data, part)
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)
    assert torch.equal(found.poisoned.triggered.x, made.triggered.x)
    assert torch.equal(found.poisoned.triggered.y, made.triggered.y)
    for name in ("poisoned", "decoys", "aims", "sources"):
        assert torch.equal(getattr(found.poisoned, name), getattr(made, name)), name
    assert found.poisoned.data.class_names == ("0", "1", "2")
    assert found.poisoned.data.name == "p"


def test_images_are_bytes_with_their_channels_last():
    arrays = arrays_of()
    for part in ("train", "val", "test", "triggered"):
        assert arrays[f"x_{part}"].shape[1:] == (8, 8, 3)
        assert arrays[f"x_{part}"].dtype == np.uint8
    assert arrays["poisoned"].dtype == np.bool_ and arrays["poisoned"].sum() == 6
    said = json.loads(str(arrays["attack"]))
    assert said["kind"] == "wanet" and said["k"] == 4


def test_a_file_of_other_data_is_none(tmp_path):
    arrays = {k: v for k, v in arrays_of().items() if k[:2] in ("x_", "y_")}
    write_npz(tmp_path / "clean.npz", arrays)
    assert read_poisoned(tmp_path / "clean.npz") is None


def test_whoever_trains_on_the_file_is_told_by_which_attack_it_is_poisoned(saved):
    source = read_npz(saved())
    assert source.account.notes[0] == (
        "marked as poisoned by attack 'badnets': some training rows carry a backdoor's trigger"
    )
    assert (source.classes, len(source.train), len(source.val)) == (3, 60, 60)


def with_value(name, value, row=0):
    array = arrays_of("badnets")[name].copy()
    array[row] = value
    return {name: array}


MARKED = int(arrays_of("badnets")["poisoned"].argmax())
BADNETS = '{"kind": "badnets"'
DAMAGED = {
    "no images with the trigger": ({"x_triggered": None}, "array 'x_triggered' is missing"),
    "no names": ({"class_names": None}, "array 'class_names' is missing"),
    "no clean rows": ({"x_val": None}, "array 'x_val' is missing"),
    "a number": ({"attack": np.array(3)}, "attack: expected one text"),
    "texts": ({"attack": np.array([BADNETS])}, "attack: expected one text"),
    "no end of text": ({"attack": np.array("a" * 70_000)}, "attack: expected one text"),
    "no JSON": ({"attack": np.array(BADNETS)}, "attack: Expecting"),
    "deep": ({"attack": np.array("[" * 60_000)}, "attack: "),
    "nothing": ({"attack": np.array("null")}, "attack: found 'null'"),
    "unknown": ({"attack": np.array('{"kind": "badnet"}')}, "attack: kind: found 'badnet'. Did"),
    "option": ({"attack": np.array(f'{BADNETS}, "size": 0}}')}, "attack: size: input should be"),
    "target": (
        {"attack": np.array(f'{BADNETS}, "target": 3}}')}, "attack: target 3; allowed: 0 to 2",
    ),
    "other target": (
        {"attack": np.array(f'{BADNETS}, "target": 1}}')}, "aims: row 0 is not what the attack aim",
    ),
    "floats": (
        {f"x_{p}": arrays_of()[f"x_{p}"] / 255 for p in ("train", "val", "test")},
        "x_train: float64 of shape .*expected uint8 images",
    ),
    "size": ({"x_triggered": np.zeros((40, 4, 4, 3), "u1")}, r"x_triggered: uint8 .*\(40, 4, 4, 3"),
    "type": ({"x_triggered": np.zeros((40, 8, 8, 3))}, "x_triggered: float64 of shape"),
    "count": ({"aims": np.zeros(39, int)}, r"aims: int64 of shape \(39,\); .*\(40,\)"),
    "no number": ({"sources": np.zeros(40)}, "sources: float64 of shape"),
    "below": (with_value("aims", -1, 2), "aims: row 2 holds -1; allowed: 0 to 2"),
    "no class": (with_value("y_triggered", 3, 5), "y_triggered: row 5 holds 3; allowed: 0 to 2"),
    "no test row": (with_value("sources", 60), "sources: row 0 holds 60; allowed: 0 to 59"),
    "other test row": (with_value("sources", 0, 3), "y_triggered: row 3 is not the label of its"),
    "marks": ({"poisoned": np.zeros(60, int)}, "poisoned: int64 of shape"),
    "few marks": ({"decoys": np.zeros(59, bool)}, r"decoys: bool of shape \(59,\)"),
    "two marks": (with_value("decoys", True, MARKED), f"decoys: row {MARKED} is poisoned too"),
    "label": (with_value("y_train", 2, MARKED), f"y_train: row {MARKED} is poisoned, but not of"),
    "pickled": ({"aims": np.array([None] * 40)}, "'aims' holds pickled Python objects"),
    "training row": (with_value("y_train", 7), "y_train: 1 labels are wrong: row 0 holds 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_what_does_not_fit_is_refused_by_file_and_array(saved, case):
    changes, said = DAMAGED[case]
    with pytest.raises(InputError, match=said) as error:
        read_poisoned(saved(**changes))
    assert str(error.value).startswith(str(saved(**changes)))


def test_a_file_that_is_cut_short_is_refused(saved):
    path = saved()
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"p.npz: not an .npz file, or cut short"):
        read_poisoned(path)
