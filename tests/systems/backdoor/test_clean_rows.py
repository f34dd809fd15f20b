"""Clean rows from a data set of their own, and pixels that are read as they were elsewhere."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from overriding import parsed
from tiny_commands import small_arrays

from peerlearn.engine.places import located
from peerlearn.errors import InputError
from peerlearn.systems.backdoor.attacks.badnets import BadNets
from peerlearn.systems.backdoor.attacks.poisoning import poison
from peerlearn.systems.backdoor.attacks.preparing import data_to_poison
from peerlearn.systems.backdoor.attacks.saved import poisoned_arrays
from peerlearn.systems.backdoor.config import BackdoorData
from peerlearn.systems.backdoor.data import BackdoorDataset
from peerlearn.systems.backdoor.task import BackdoorTask
from peerlearn.systems.registry import find_recipe
from peerlearn.tasks.contract import trainer_of

Arrays = dict[str, np.ndarray]
FEW = {"x": small_arrays(seed=1)["x_train"][:20], "y": small_arrays(seed=1)["y_train"][:20]}


def of(**spec: Any) -> BackdoorDataset:
    """The data that a `data` block stands for, of files in the present folder."""
    recipe, given = find_recipe("backdoor")
    data = {"name": "train.npz", "clean_from": "clean.npz", "attack": None} | spec
    found = recipe.task.load(recipe.resolve(given | {"data": data}, {}))
    assert isinstance(found, BackdoorTask)
    return found.data


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.npz` has 60 rows of 3 classes to learn from, `clean.npz` 20 others."""
    monkeypatch.chdir(tmp_path)
    arrays = small_arrays()
    np.savez("train.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    np.savez("clean.npz", **FEW)


def keys(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def test_all_rows_of_the_clean_source_are_clean_ones_and_train_keeps_its_own() -> None:
    data = of()
    assert (len(data.train), len(data.clean), len(data.val)) == (60, 16, 4)
    assert keys(data.clean.x) | keys(data.val.x) == keys(torch.from_numpy(FEW["x"]))
    assert keys(data.train.x) == keys(torch.from_numpy(small_arrays()["x_train"]))
    assert torch.equal(data.test.x, data.val.x), "nothing else is there to measure on"
    said = data.account.lines()
    assert "clean rows: all 20 of clean.npz" in said
    assert any(
        line.startswith("no test: measured on the clean rows that are held out") for line in said
    )


def test_test_rows_of_the_training_data_are_measured_on_and_their_validation_rows_left_out() -> (
    None
):
    np.savez("train.npz", **small_arrays())
    data = of()
    assert keys(data.test.x) == keys(torch.from_numpy(small_arrays()["x_test"]))
    assert any("60 rows of val left out" in line for line in data.account.lines())


def test_clean_rows_alone_are_all_that_there_is_to_learn_from() -> None:
    data = of(name="clean.npz")
    assert keys(data.train.x) == keys(data.clean.x)
    assert not keys(data.train.x) & keys(data.val.x)


def test_a_share_of_clean_rows_that_is_held_out_is_an_option() -> None:
    assert len(of(held_out=0.5).val) == 10


def test_an_attack_poisons_training_rows_and_no_clean_one() -> None:
    data = of(attack={"kind": "badnets", "size": 2})
    assert int(data.poisoned.sum()) == 5
    assert keys(data.clean.x) | keys(data.val.x) == keys(torch.from_numpy(FEW["x"]))
    assert len(data.test) == 6 and not keys(data.test.x) & keys(data.val.x), "held out of train"


def poisoned() -> Arrays:
    """`poisoned.npz`, as `peerlearn attack` makes it of data with all parts, and its arrays."""
    np.savez("whole.npz", **small_arrays())
    attack = BadNets(size=2)
    surrogate: Any = None  # BadNets asks for none
    made = poison(data_to_poison(BackdoorData(name="whole.npz"), 20), attack, 0, surrogate)
    arrays = poisoned_arrays(made, attack)
    np.savez("poisoned.npz", **arrays)
    return arrays


@pytest.mark.parametrize("name", ["train.npz", "poisoned.npz", "whole.npz"])
def test_training_rows_that_an_attack_poisoned_are_not_taken_for_clean(name: str) -> None:
    arrays = poisoned()
    said = r"^data\.clean_from: poisoned\.npz: is marked as poisoned by attack 'badnets'.*x_val"
    with pytest.raises(InputError, match=said):
        of(name=name, clean_from="poisoned.npz")
    np.savez("poisoned.npz", **arrays | {"attack": np.array("nothing that is JSON")})
    with pytest.raises(InputError, match="attack"):
        of(name=name, clean_from="poisoned.npz")
    np.savez("poisoned.npz", **{k: v for k, v in arrays.items() if k != "attack"})
    with pytest.raises(InputError, match=r"marked as poisoned by its array 'poisoned'"):
        of(name=name, clean_from="poisoned.npz")


def test_what_an_attack_left_clean_may_be_saved_as_a_file_of_clean_rows() -> None:
    """As the message says that refuses the whole file."""
    arrays = poisoned()
    np.savez("clean.npz", x=arrays["x_val"], y=arrays["y_val"])
    data = of(name="poisoned.npz")
    assert len(data.clean) + len(data.val) == 20


def test_files_of_an_attack_get_clean_rows_from_elsewhere_too() -> None:
    poisoned()
    data = of(name="poisoned.npz")
    assert data.triggered is not None and data.poisoned is not None
    assert keys(data.clean.x) | keys(data.val.x) == keys(torch.from_numpy(FEW["x"]))


def test_classes_are_told_by_their_names_in_whatever_order() -> None:
    arrays = small_arrays()
    names = np.array(["cat", "dog", "emu"])
    np.savez("train.npz", **arrays, class_names=names)
    np.savez("clean.npz", x=FEW["x"], y=(FEW["y"] + 1) % 3, class_names=names[[2, 0, 1]])
    data = of()
    y = torch.cat([data.clean.y, data.val.y])
    x = torch.cat([data.clean.x, data.val.x])
    shades = [float(x[y == number].float().mean()) for number in range(3)]
    assert shades == sorted(shades), "brightness tells the class"
    np.savez("clean.npz", **FEW)
    assert any("matched by number" in line for line in of().account.lines())
    np.savez("clean.npz", **FEW, class_names=np.array(["cat", "dog", "eel"]))
    with pytest.raises(InputError, match=r"clean_from: clean\.npz: classes eel .* cat, dog, emu"):
        of()


def test_what_is_lacking_shared_or_without_a_label_is_told() -> None:
    arrays = small_arrays()
    kept = FEW["y"] != 1
    np.savez("clean.npz", x=FEW["x"][kept], y=FEW["y"][kept])
    assert "data.clean_from: clean.npz: no clean row of 1" in of().account.lines()
    np.savez("clean.npz", x=arrays["x_train"][:20], y=arrays["y_train"][:20])
    assert "20 of 20 rows of clean are in train too" in of().account.lines()
    y = FEW["y"].copy()
    y[:2] = -1
    np.savez("clean.npz", x_train=FEW["x"], y_train=y)
    data = of()
    assert len(data.clean) + len(data.val) == 18
    assert any("2 rows without a label left out" in line for line in data.account.lines())


def test_folders_and_named_sets_hold_clean_rows_too(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    from PIL import Image

    for row, label in enumerate(FEW["y"]):
        (tmp_path / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(FEW["x"][row]).save(tmp_path / "images" / str(label) / f"{row}.png")
    data = of(clean_from="images")
    assert keys(data.clean.x) | keys(data.val.x) == keys(torch.from_numpy(FEW["x"]))
    assert len(of(name="digits", clean_from="digits").train) == 1257 - round(0.2 * 1257)


@pytest.mark.parametrize(
    ("clean", "message"),
    [
        (
            {"x": FEW["x"][:2], "y": FEW["y"][:2]},
            r"2 clean rows for 3 classes; allowed: 4 or more, .*\(data\.held_out: 0\.2\)",
        ),
        (
            {"x": FEW["x"][:3], "y": FEW["y"][:3]},
            "3 clean rows for 3 classes; allowed: 4 or more, for one of each class is needed",
        ),
        ({"x": FEW["x"], "y": 0 * FEW["y"]}, "y_train: only class 0 occurs; at least two"),
        ({"x": FEW["x"][:, 1:], "y": FEW["y"]}, r"shape \(1, 7, 8\); .* 'train', have \(1, 8, 8\)"),
        ({"x": FEW["x"] / 255, "y": FEW["y"]}, "rows are float32, the training rows.* uint8"),
        ({"x": FEW["x"], "y": np.arange(20) % 4}, "classes 3 are not those that the training rows"),
        ({"x": FEW["x"], "y": np.eye(3)[FEW["y"]]}, "rows have several labels; one is needed"),
        ({"x_train": FEW["x"]}, r"clean\.npz: array 'y_train' is missing"),
        ({"x": np.array([None] * 20), "y": FEW["y"]}, "holds pickled Python objects"),
    ],
    ids=[
        "few",
        "one of each",
        "one class",
        "size",
        "floats",
        "classes",
        "several",
        "no labels",
        "pickled",
    ],
)
def test_clean_rows_that_cannot_be_used_are_refused(clean: Arrays, message: str) -> None:
    np.savez("clean.npz", **clean)
    with pytest.raises(InputError, match=message) as said:
        of()
    assert "clean" in str(said.value)


@pytest.mark.parametrize("held_out", [0.2, 0.5, 0.7, 1, 4])
def test_as_few_clean_rows_as_are_said_to_be_enough_are_enough(held_out: float) -> None:
    np.savez("clean.npz", x=FEW["x"][:3], y=FEW["y"][:3])
    with pytest.raises(InputError) as said:
        of(held_out=held_out)
    found = re.search(r"allowed: (\d+) or more", str(said.value))
    assert found, said.value
    enough = int(found[1])
    np.savez("clean.npz", x=FEW["x"][:enough], y=FEW["y"][:enough])
    data = of(held_out=held_out)
    assert len(data.clean) >= 3 and len(data.clean) + len(data.val) == enough


def test_what_is_said_of_too_many_that_are_held_out_is_said_of_clean_rows() -> None:
    np.savez("clean.npz", x=FEW["x"][:5], y=FEW["y"][:5])
    said = r"data\.held_out: 0\.9 .* the clean set has 5 labelled rows .* allowed: up to 2"
    with pytest.raises(InputError, match=said):
        of(held_out=0.9)
    assert len(of(held_out=2).clean) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clena.npz", r"data\.clean_from: clena\.npz: no such file or folder\. Did you mean clean"),
        ("digts", r"data\.clean_from: unknown data set or path 'digts'\. Did you mean 'digits'"),
    ],
)
def test_clean_rows_that_are_not_there_are_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        of(clean_from=name)


def test_classes_may_be_counted_for_both() -> None:
    assert of(classes=7).classes == 7
    arrays = small_arrays()
    np.savez("train.npz", **arrays, class_names=np.array(["cat", "dog", "emu"]))
    with pytest.raises(InputError, match=r"data\.classes: 7"):
        of(classes=7)


# Normalisation ------------------------------------------------------------------------------------


def test_pixels_are_read_by_the_numbers_that_are_given() -> None:
    own, given = of(), of(mean=[0.25], std=[0.5])
    assert own.mean != given.mean and given.mean == (0.25,) and given.std == (0.5,)
    colours = np.repeat(small_arrays()["x_train"][..., None], 3, 3)
    np.savez("train.npz", x_train=colours, y_train=small_arrays()["y_train"])
    np.savez("clean.npz", x=colours[:20], y=small_arrays()["y_train"][:20])
    assert of(mean=[0.25], std=[0.5, 0.6, 0.7]).mean == (0.25, 0.25, 0.25)


def test_networks_train_on_what_the_numbers_make_of_pixels() -> None:
    recipe, given = find_recipe("backdoor")
    network = "{model: cnn, arguments: {width: 0.25}}"
    words = [
        *(f"peers.{name}={network}" for name in ("victim", "teacher", "student")),
        *("data={name: train.npz, clean_from: clean.npz, attack: null}", "epochs=1", "threads=1"),
        *("stages.standard.epochs=1", "stages.non_target.epochs=1", "precision=fp32"),
    ]

    def student(*more: str) -> torch.Tensor:
        trainer = trainer_of(recipe.task.load(recipe.resolve(given, parsed(*words, *more))))
        trainer.run()
        return torch.cat([p.flatten() for p in trainer.cohort.peers["student"].parameters()])

    assert not torch.equal(student(), student("data.mean=[0.2]", "data.std=[0.5]"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mean": [0.5]}, r"std: missing; it goes with mean"),
        ({"std": [0.5]}, r"mean: missing; it goes with std"),
        ({"mean": [0.5], "std": [0]}, r"data\.std: found 0; allowed: numbers above 0"),
        ({"mean": [0.5, 0.5], "std": [1]}, r"data\.mean: 2 numbers .* allowed: one, or 1, one for"),
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        of(**spec)


# Places -------------------------------------------------------------------------------------------


def test_a_run_that_is_opened_elsewhere_finds_its_clean_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = {"name": "digits", "clean_from": "clean.npz", "root": None}
    found = located({"data": data}, tmp_path, BackdoorTask.catalogue)
    assert found["data"]["clean_from"] == str(tmp_path / "clean.npz")
    named = located({"data": data | {"clean_from": "digits"}}, tmp_path, BackdoorTask.catalogue)
    assert named["data"]["clean_from"] == "digits", "a name, not a path"
