"""`eval`: the numbers of a run again, and of other data under the run's normalisation."""

import json
import shutil

import numpy as np
import pytest
import yaml
from overriding import over
from tiny_commands import TINY, small_arrays

MEASURED = ("peers", "mean_peer", "ensemble", "between_peers", "reliability")


def block(path):
    (arm,) = json.loads(path.read_text())["arms"].values()
    return {key: arm[key] for key in MEASURED}


@pytest.fixture
def named(cli, tmp_path):
    """A run on data of three named classes, in `run`; returns the arrays."""
    arrays = small_arrays() | {"class_names": np.array(["ant", "bee", "cat"])}
    np.savez(tmp_path / "my.npz", **arrays)
    assert (
        cli("run", "dml", *over(*TINY, "data.train_size=50"), "--data", "my.npz", "--out", "run")[0]
        == 0
    )
    return arrays


def test_on_its_own_data_the_numbers_are_those_of_the_run(cli, tmp_path, trained):
    said = cli("eval", trained, "--out", "again.json")
    assert said.status == 0
    assert block(tmp_path / "again.json") == block(trained / "results.json")
    accuracy = block(trained / "results.json")["ensemble"]["accuracy"]["mean"]
    line = next(line for line in said.out.splitlines() if line.startswith("ensemble"))
    assert f"{accuracy:.4f}" in line


def test_nothing_in_the_run_is_touched(cli, run_folder):
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    cli("eval", run_folder)
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")} == before


def test_other_data_are_normalised_as_the_training_data_were(cli, tmp_path, named):
    """The other file shares the test split only: were its own mean taken, numbers would differ."""
    draw = np.random.default_rng(1)
    other = named | {"x_train": draw.integers(200, 255, (60, 8, 8)).astype(np.uint8)}
    np.savez(tmp_path / "other.npz", **other)
    assert cli("eval", "run", "--data", "other.npz", "--out", "other.json").status == 0
    assert block(tmp_path / "other.json") == block(tmp_path / "run" / "results.json")


def test_other_rows_give_other_numbers(cli, tmp_path, named):
    np.savez(tmp_path / "other.npz", **(named | {"x_test": 255 - named["x_test"]}))
    assert cli("eval", "run", "--data", "other.npz", "--out", "other.json").status == 0
    assert block(tmp_path / "other.json") != block(tmp_path / "run" / "results.json")


def test_classes_are_matched_by_name(cli, tmp_path, named):
    turned = named | {"class_names": np.array(["cat", "bee", "ant"])}
    turned |= {key: 2 - named[key] for key in ("y_train", "y_val", "y_test")}
    np.savez(tmp_path / "other.npz", **turned)
    assert cli("eval", "run", "--data", "other.npz", "--out", "other.json").status == 0
    assert block(tmp_path / "other.json") == block(tmp_path / "run" / "results.json")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"class_names": np.array(["ant", "bee", "dog"])}, "classes dog are not those"),
        (small_arrays(4), "4 classes, but the run was trained on 3"),
        ({key: np.zeros((60, 9, 9), np.uint8) for key in ("x_train", "x_val", "x_test")}, "(1, 9"),
        ({key: np.zeros((60, 8, 8)) for key in ("x_train", "x_val", "x_test")}, "dtype float32"),
    ],
)
def test_data_of_another_kind(cli, tmp_path, named, change, expected):
    other = named | change
    if other["y_train"].max() == 3:
        del other["class_names"]
    np.savez(tmp_path / "other.npz", **other)
    said = cli("eval", "run", "--data", "other.npz")
    assert said.status == 2
    assert "--data other.npz: " in said.err
    assert expected in said.err


def test_precision_is_used(cli, tmp_path, trained):
    for name in ("fp32", "bf16"):
        assert cli("eval", trained, "--precision", name, "--out", f"{name}.json").status == 0
    fp32, bf16 = (block(tmp_path / f"{name}.json") for name in ("fp32", "bf16"))
    assert fp32["mean_peer"]["nll"] != bf16["mean_peer"]["nll"]
    assert fp32["mean_peer"]["nll"]["mean"] == pytest.approx(
        bf16["mean_peer"]["nll"]["mean"], abs=0.02
    )
    assert cli("eval", trained, "--precision", "fp16").status == 2


def test_a_cell_of_a_comparison_is_a_run(cli, tmp_path):
    said = cli("compare", "dml", *TINY, "--arms", "independent", "--seeds", "3", "--out", "both")
    assert said.status == 0
    cell = tmp_path / "both" / "cells" / "independent" / "seed-3"
    assert cli("eval", "both/cells/independent/seed-3", "--out", "cell.json").status == 0
    assert block(tmp_path / "cell.json") == block(cell / "results.json")

    said = cli("eval", "both")
    assert said.status == 2
    assert "holds a comparison; name one of its runs: both/cells/independent/seed-3" in said.err


def test_folders_that_cannot_be_evaluated(cli, tmp_path, run_folder):
    (tmp_path / "nothing").mkdir()
    for folder, expected in (
        ("rum", "rum: no such run folder. Did you mean run?"),
        ("nothing", "nothing: holds no run (no config.yaml)"),
        (".", ".: holds no run (no config.yaml). Runs below it: run."),
    ):
        said = cli("eval", folder)
        assert said.status == 2
        assert expected in said.err

    weights = run_folder / "checkpoints" / "best" / "b.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "b.safetensors: not a whole safetensors file" in cli("eval", "run").err
    (run_folder / "results.json").unlink()
    shutil.rmtree(run_folder / "checkpoints")
    assert "the run is not finished, and has saved no epoch yet" in cli("eval", "run").err


def test_a_run_whose_data_are_gone_says_which(cli, tmp_path, named, monkeypatch):
    (tmp_path / "my.npz").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = cli("eval", "../run")
    assert said.status == 2
    places = f"{tmp_path}/my.npz and {tmp_path}/elsewhere/my.npz"
    assert f"data.name: my.npz: no such file or folder. Looked for {places}" in said.err
    assert "--data" in said.err


def test_a_run_finds_its_data_from_another_folder(cli, tmp_path, named, monkeypatch):
    here = block(tmp_path / "run" / "results.json")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.savez("my.npz", **small_arrays(seed=9))  # not the run's
    assert cli("eval", "../run", "--out", "eval.json").status == 0
    there = block(tmp_path / "elsewhere" / "eval.json")
    assert there["mean_peer"] == here["mean_peer"]


def test_a_moved_project_finds_its_data_in_the_current_folder(cli, tmp_path, named, monkeypatch):
    here = block(tmp_path / "run" / "results.json")
    (tmp_path / "moved").mkdir()
    for name in ("run", "my.npz"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    monkeypatch.chdir(tmp_path / "moved")
    assert cli("eval", "run", "--out", "eval.json").status == 0
    assert block(tmp_path / "moved" / "eval.json")["mean_peer"] == here["mean_peer"]


def pictures(folder, part="", mode="L", side=8, rows=30) -> None:
    """Bright and dark images in class folders, `rows` a class."""
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for shade, name in ((30, "dark"), (200, "light")):
        (folder / part / name).mkdir(parents=True)
        for row in range(rows):
            grey = (shade + draw.integers(-30, 30, (side, side))).astype(np.uint8)
            image.fromarray(grey).convert(mode).save(folder / part / name / f"{row}.png")


@pytest.fixture
def bright(cli, tmp_path):
    """A run on grey pictures of 8x8 pixels."""
    pictures(tmp_path / "own", "train")
    words = over(*TINY, "data.train_size=null", "epochs=4", "batch_size=16")
    said = cli("run", "dml", *words, "--data", "own", "--out", "run")
    assert said.status == 0, said.err


def test_names_that_are_not_utf8_train_and_are_measured(cli, tmp_path):
    pictures(tmp_path / "caf\udce9", "train")
    (tmp_path / "caf\udce9" / "train" / "dark").rename(tmp_path / "caf\udce9" / "train" / "d\udce9")
    words = over(*TINY, "data.train_size=null", "batch_size=16")
    said = cli("run", "dml", *words, "--data", "caf\udce9", "--out", "run")
    assert said.status == 0, said.err
    said = cli("eval", "run", "--out", "eval.json")
    assert said.status == 0, said.err
    assert r"on caf\xe9" in said.out
    assert cli("eval", "run", "--data", "caf\udce9").status == 0
    said = cli("run", "dml", *words, "--data", "caf\udce9", "--out", "r\udce9n")
    assert said.status == 2
    assert r"r\xe9n: the name of a run folder must be UTF-8" in said.err
    assert not (tmp_path / "r\udce9n" / "config.yaml").exists()


def test_a_folder_without_test_is_measured_as_a_whole(cli, tmp_path, bright):
    pictures(tmp_path / "flat", rows=7)
    pictures(tmp_path / "parts", "train", rows=7)
    for name in ("flat", "parts"):
        said = cli("eval", "run", "--data", name)
        assert said.status == 0, said.err
        assert "no test/: all images are measured on" in said.err
        assert "read 14 files: train 14" in said.err
    pictures(tmp_path / "parts", "testing", rows=2)
    said = cli("eval", "run", "--data", "parts")
    assert "testing/ is read as test/" in said.err
    assert "all images" not in said.err
    pictures(tmp_path / "tests alone", "test", rows=2)
    assert cli("eval", "run", "--data", "tests alone").status == 0


def test_the_own_folder_without_test_is_measured_as_in_training(cli, tmp_path, bright):
    said = cli("eval", "run", "--data", "own", "--out", "eval.json")
    assert "no test: 6 of train are held out for it" in said.err
    assert (
        block(tmp_path / "eval.json")["mean_peer"]
        == block(tmp_path / "run" / "results.json")["mean_peer"]
    )


def test_the_own_folder_that_moved_is_measured_as_in_training(cli, tmp_path, bright):
    (tmp_path / "own").rename(tmp_path / "moved")
    said = cli("eval", "run", "--data", "moved", "--out", "eval.json")
    assert said.status == 0, said.err
    assert "no test: 6 of train are held out for it" in said.err
    assert (
        block(tmp_path / "eval.json")["mean_peer"]
        == block(tmp_path / "run" / "results.json")["mean_peer"]
    )


def test_images_of_other_sizes_and_colours_are_measured_alike(cli, tmp_path, bright):
    pictures(tmp_path / "plain", "test")
    pictures(tmp_path / "coloured", "test", "RGB")
    pictures(tmp_path / "large", "test", side=16)
    made = {}
    for name in ("plain", "coloured", "large"):
        said = cli("eval", "run", "--data", name, "--out", f"{name}.json")
        made[name] = said.err, block(tmp_path / f"{name}.json")["mean_peer"]
    assert made["plain"][1] == made["coloured"][1]
    assert made["large"][1]["accuracy"]["mean"] > 0.9
    assert "60 coloured images of 60 read as grey" in made["coloured"][0]
    assert "60 images fitted to 8×8, centre-cropped (data.fit: crop)" in made["large"][0]


def test_results_call_a_file_by_its_name_and_the_configuration_by_its_path(cli, tmp_path):
    path = tmp_path / "deep" / "my.npz"
    path.parent.mkdir()
    np.savez(path, **small_arrays())
    few = [*over(*TINY, "data.train_size=50"), "--data", path]
    cli("run", "dml", *few, "--out", "run")
    cli("compare", "dml", *few, "--arms", "mutual", "--seeds", "0", "--out", "compared")
    cli("eval", "run", "--data", path, "--out", "eval.json")
    for results in ("run/results.json", "compared/results.json", "eval.json"):
        assert json.loads((tmp_path / results).read_text())["data"] == "my"
    for folder in ("run", "compared"):
        config = yaml.safe_load((tmp_path / folder / "config.yaml").read_text())
        assert config["data"]["name"] == str(path)
