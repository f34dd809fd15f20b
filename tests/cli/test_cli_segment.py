"""Runs that segment: `eval` on other masks, and `predict`, which writes masks."""

import csv
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from overriding import parsed
from PIL import Image
from tiny_masks import NAMES, SIDE, TINY_MASKS, mask_arrays

from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe

MEASURED = ("peers", "mean_peer", "ensemble", "between_peers", "reliability")


def train(folder, *words):
    recipe, given = find_recipe("styles-segment")
    run_recipe(recipe, recipe.resolve(given, parsed(*TINY_MASKS, *words)), folder)
    return folder


@pytest.fixture(scope="module")
def arrays():
    return mask_arrays()


@pytest.fixture(scope="module")
def run(tmp_path_factory, arrays):
    """A finished run on scenes of three named classes; read only."""
    folder = tmp_path_factory.mktemp("segmented")
    np.savez(folder / "my.npz", **arrays)
    return train(folder / "run", f"data.name={folder / 'my.npz'}", "precision=fp32")


@pytest.fixture
def pictures(tmp_path):
    """Grey images of several sizes, in `pictures`, by name."""
    draw = np.random.default_rng(5)
    made = {}
    for name, size in {"square": (12, 12), "wide": (7, 40), "deep/large": (33, 21)}.items():
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        made[name] = draw.integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(made[name]).save(path)
    return made


def mask(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)


def files(folder) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found)


def summary(folder) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "summary.csv").open()))


def block(path):
    (arm,) = json.loads(path.read_text())["arms"].values()
    return {key: arm[key] for key in MEASURED}


def test_on_its_own_data_and_on_a_copy_of_them_the_numbers_are_those_of_the_run(
    cli, tmp_path, run, arrays
):
    np.savez(tmp_path / "copy.npz", **arrays)
    for words in ([], ["--data", "copy.npz"]):
        said = cli("eval", run, *words, "--out", "again.json")
        assert said.status == 0
        assert block(tmp_path / "again.json") == block(run / "results.json")


def test_classes_are_matched_by_name_and_what_does_not_count_stays_so(cli, tmp_path, run, arrays):
    turned = dict(arrays) | {"classes": np.array(NAMES[::-1])}
    for part in ("train", "val", "test"):
        y = arrays[f"y_{part}"]
        turned[f"y_{part}"] = np.where(y == 255, 255, 2 - y)
    np.savez(tmp_path / "turned.npz", **turned)
    assert cli("eval", run, "--data", "turned.npz", "--out", "turned.json").status == 0
    assert block(tmp_path / "turned.json") == block(run / "results.json")


def test_masks_of_another_size_can_be_measured(cli, tmp_path, run):
    np.savez(tmp_path / "large.npz", **mask_arrays(4, (30, 17), seed=1))
    said = cli("eval", run, "--data", "large.npz", "--out", "large.json")
    assert said.status == 0
    assert block(tmp_path / "large.json") != block(run / "results.json")


def other_arrays(kind):
    arrays = mask_arrays(4)
    parts = ("train", "val", "test")
    match kind:
        case "channels":
            return arrays | {f"x_{p}": np.zeros((4, SIDE, SIDE, 3), np.uint8) for p in parts}
        case "dtype":
            return arrays | {f"x_{p}": arrays[f"x_{p}"] / 255 for p in parts}
        case "multilabel":
            return arrays | {
                f"y_{p}": np.stack([arrays[f"y_{p}"] == n for n in range(3)], 1) for p in parts
            }
        case "classes":
            return arrays | {"classes": np.array(["ground", "tree", "car"])}
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("channels", "channels 3, but the run was trained on channels 1"),
        ("dtype", "dtype float32, but the run was trained on dtype uint8"),
        ("multilabel", "multilabel True, but the run was trained on multilabel False"),
        ("classes", "classes car are not those that the run was trained on: ground, tree, house"),
    ],
)
def test_masks_of_another_kind(cli, tmp_path, run, kind, expected):
    np.savez(tmp_path / "other.npz", **other_arrays(kind))
    said = cli("eval", run, "--data", "other.npz")
    assert said.status == 2
    assert f"--data other.npz: {expected}" in said.err


def test_a_mask_for_every_image_of_any_size(cli, tmp_path, run, pictures):
    said = cli("predict", run, "pictures", "--out", "made/masks")
    out = tmp_path / "made" / "masks"
    assert (said.status, said.out) == (0, "")
    assert "made/masks: 3 images, by peer s" in said.err
    assert files(out) == ["deep/large.png", "square.png", "summary.csv", "wide.png"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["masks"]
    for line in summary(out):
        name = line["mask"].removesuffix(".png")
        made = mask(out / line["mask"])
        assert line["input"] == f"pictures/{name}.png"
        assert made.shape == pictures[name].shape
        assert set(np.unique(made)) <= {0, 1, 2}
        for number, label in enumerate(NAMES):
            assert float(line[label]) == pytest.approx(np.mean(made == number), abs=1e-5)
        assert 1 / 3 <= float(line["confidence"]) <= 1


def test_masks_are_those_that_the_run_was_measured_on(cli, tmp_path, run, arrays):
    """Accuracy counted in the files equals results.json: weights, normalisation, classes."""
    np.savez(tmp_path / "new.npz", x=arrays["x_test"])
    results = json.loads((run / "results.json").read_text())["arms"]["kdml-v4"]
    y = arrays["y_test"]
    for who in ("teacher", "s1", "s2", "ensemble"):
        assert cli("predict", run, "new.npz", "--peer", who, "--out", who).status == 0
        made = np.stack([mask(tmp_path / who / f"new-{n:04}.png") for n in range(len(y))])
        measured = results["ensemble"] if who == "ensemble" else results["peers"][who]
        accuracy = np.mean(made[y != 255] == y[y != 255])
        assert accuracy == pytest.approx(measured["accuracy"]["mean"], abs=1e-12)


def test_best_is_the_student_that_validation_chose(cli, tmp_path, run, pictures):
    selected = json.loads((run / "results.json").read_text())["selected"]
    best = max(("s1", "s2"), key=lambda name: selected[name]["value"])
    assert f"by peer {best}" in cli("predict", run, "pictures", "--out", "made").err


def test_the_ensemble_is_the_mean_probability_of_its_members(cli, tmp_path, run, pictures):
    p = {}
    for who in ("s1", "s2", "ensemble"):
        words = ["--peer", who, "--probabilities", "--out", who]
        assert cli("predict", run, "pictures/wide.png", *words).status == 0
        with np.load(tmp_path / who / "wide.npz") as file:
            p[who] = file["probabilities"]
            assert tuple(file["class_names"]) == NAMES
        assert p[who].shape == (3, 7, 40)
        assert np.array_equal(p[who].argmax(0), mask(tmp_path / who / "wide.png"))
    np.testing.assert_allclose(p["ensemble"], (p["s1"] + p["s2"]) / 2, atol=1e-6)
    np.testing.assert_allclose(p["ensemble"].sum(0), 1, atol=1e-6)


def test_an_overlay_shows_image_and_classes(cli, tmp_path, run, pictures):
    assert cli("predict", run, "pictures/wide.png", "--overlay", "--out", "made").status == 0
    out = tmp_path / "made"
    assert files(out) == ["summary.csv", "wide-overlay.png", "wide.png"]
    with Image.open(out / "wide.png") as image:
        colours = np.array(image.convert("RGB"))
    with Image.open(out / "wide-overlay.png") as image:
        shown = np.array(image)
    assert np.array_equal(shown, pictures["wide"][..., None] // 2 + colours // 2)


def test_images_and_arrays_agree(cli, tmp_path, run, pictures):
    np.save(tmp_path / "one.npy", pictures["wide"][None, None])
    np.savez(tmp_path / "two.npz", x_test=np.stack([pictures["wide"]] * 2))
    words = ["pictures/wide.png", "one.npy", "two.npz", "--out", "made"]
    assert cli("predict", run, *words).status == 0
    made = [mask(tmp_path / "made" / line["mask"]) for line in summary(tmp_path / "made")]
    assert files(tmp_path / "made") == [
        "one-0000.png", "summary.csv", "two-0000.png", "two-0001.png", "wide.png"
    ]  # fmt: skip
    assert all(np.array_equal(made[0], other) for other in made)


def test_a_folder_of_images_beside_masks_is_read_without_these(cli, tmp_path, run, pictures):
    for part in ("", "more/"):
        for kind in ("images", "masks"):
            folder = tmp_path / "scenes" / part / kind
            folder.mkdir(parents=True)
            Image.fromarray(pictures["square"]).save(folder / "a.png")
    assert cli("predict", run, "scenes", "--out", "made").status == 0
    assert files(tmp_path / "made") == ["a.png", "more/a.png", "summary.csv"]


def test_tiles_are_as_large_as_said(cli, tmp_path, run, pictures):
    large = "pictures/deep/large.png"
    for name, words in {"whole": [], "tiles": ["--tile", "12"], "apart": ["--tile", "12",
                        "--overlap", "0"]}.items():  # fmt: skip
        assert cli("predict", run, large, *words, "--probabilities", "--out", name).status == 0
    p = {
        name: np.load(tmp_path / name / "large.npz")["probabilities"]
        for name in ("whole", "tiles", "apart")
    }
    for one, other in (("whole", "tiles"), ("whole", "apart"), ("tiles", "apart")):
        assert np.abs(p[one] - p[other]).max() > 1e-6
        np.testing.assert_allclose(p[one], p[other], atol=0.5)
    np.testing.assert_allclose(p["tiles"].sum(0), 1, atol=1e-5)


def test_a_network_for_one_size_reads_others_in_tiles_alone(cli, tmp_path, arrays, pictures):
    np.savez(tmp_path / "my.npz", **arrays)
    model = "python:tiny_masks:fixed"
    words = [f"peers.{name}={{model: '{model}'}}" for name in ("teacher", "s1", "s2")]
    train(tmp_path / "run", "data.name=my.npz", *words, "transfer=none", "epochs=1")
    said = cli("predict", "run", "pictures", "--peer", "s1", "--out", "made", "--trust")
    assert said.status == 2
    assert said.err.startswith("peerlearn: pictures/deep/large.png: images of 21x33 pixels, but ")
    assert "peer 's1', trained on 12x12, fails on them (" in said.err
    assert "--tile 12 reads it in tiles of that size" in said.err
    assert not (tmp_path / "made").exists()
    assert cli("predict", "run", "pictures", "--tile", "12", "--out", "made", "--trust").status == 0
    assert mask(tmp_path / "made" / "wide.png").shape == (7, 40)

    np.savez(tmp_path / "large.npz", **mask_arrays(4, (13, 13)))
    said = cli("eval", "run", "--data", "large.npz", "--trust")
    assert said.status == 2
    assert "--data large.npz: images of 13x13 pixels, but peer 'teacher'" in said.err


def test_images_are_resized_as_in_training_and_masks_back(cli, tmp_path, arrays):
    for n in range(12):
        for kind, key in (("images", "x_train"), ("masks", "y_train")):
            path = tmp_path / "scenes" / kind / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            large = np.kron(arrays[key][n], np.ones((4, 3), np.uint8))
            Image.fromarray(large).save(path)
    train(tmp_path / "run", "data.name=scenes", f"data.size={SIDE}", "epochs=1")
    assert cli("predict", "run", "scenes", "--probabilities", "--out", "own").status == 0
    assert mask(tmp_path / "own" / "3.png").shape == (4 * SIDE, 3 * SIDE)
    large = Image.open(tmp_path / "scenes" / "images" / "3.png")
    large.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(tmp_path / "small.png")
    assert cli("predict", "run", "small.png", "--probabilities", "--out", "small").status == 0
    own, small = (
        torch.from_numpy(np.load(tmp_path / path)["probabilities"])
        for path in ("own/3.npz", "small/small.npz")
    )
    enlarged = F.interpolate(small[None], (4 * SIDE, 3 * SIDE), mode="bilinear")[0]
    torch.testing.assert_close(own, enlarged)
    Image.fromarray(np.zeros((5, 1100), np.uint8)).save(tmp_path / "large.png")
    for name, words in {
        "resized": [],
        "whole": ["--overlap", "3"],
        "cut": ["--tile", "12"],
    }.items():
        words = ["--peer", "s1", *words, "--probabilities", "--out", name]
        assert cli("predict", "run", "large.png", *words).status == 0
    resized, whole, cut = (
        np.load(tmp_path / name / "large.npz")["probabilities"]
        for name in ("resized", "whole", "cut")
    )
    assert np.array_equal(resized, whole)
    assert not np.allclose(resized, cut, atol=1e-6)
    assert cli("eval", "run", "--data", "scenes").status == 0


def test_masks_that_overlap(cli, tmp_path, arrays, pictures):
    parts = ("train", "val", "test")
    several = {f"y_{p}": np.stack([arrays[f"y_{p}"] >= n for n in (1, 2)], 1) for p in parts}
    names = {"classes": np.array(["not ground", "house"])}
    np.savez(tmp_path / "my.npz", **(dict(arrays) | several | names))
    train(tmp_path / "run", "data.name=my.npz", "objective.loss=bce+dice")
    words = ["--overlay", "--probabilities", "--peer", "s1", "--out", "made"]
    assert cli("predict", "run", "pictures/wide.png", *words).status == 0
    out = tmp_path / "made"
    labels = ["wide-not_ground.png", "wide-house.png"]
    assert files(out) == sorted([*labels, "wide-overlay.png", "wide.npz", "summary.csv"])
    p = np.load(out / "wide.npz")["probabilities"]
    for number, name in enumerate(labels):
        assert np.array_equal(mask(out / name), p[number] > 0.5)
    (line,) = summary(out)
    assert line["mask"] == "|".join(labels)
    assert float(line["house"]) == pytest.approx(np.mean(p[1] > 0.5), abs=1e-5)


def make_inputs(folder, arrays):
    x = arrays["x_test"]
    (folder / "a").mkdir()
    for name in ("one.png", "one.jpg", "a/one.png"):
        Image.fromarray(x[0]).save(folder / name)
    Image.fromarray(np.stack([x[0]] * 3, 2)).save(folder / "colour.png")
    (folder / "cut.png").write_bytes((folder / "one.png").read_bytes()[:90])
    np.save(folder / "colour.npy", np.zeros((2, 9, 9, 3), np.uint8))
    np.save(folder / "float.npy", x / 255)
    np.save(folder / "vectors.npy", np.zeros((5, 144), np.uint8))
    (folder / "a-file").touch()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("one.png", "--out: missing; masks are files, name a folder for them: --out DIR"),
        ("one.png --out a-file", "--out a-file: is a file; expected a folder"),
        ("one.png --out made --tile 0", "--tile: 0 pixels; allowed: 1 or more"),
        ("one.png --out made --tile 8 --overlap 8", "--overlap: 8 pixels of tiles of 8x8; "),
        ("one.png --out made --overlap 12", "--overlap: 12 pixels of tiles of 12x12; allowed: "),
        ("one.png --out made --overlap -1", "--overlap: -1 pixels; allowed: 0 or more"),
        ("one.png --out made --peer s3", "--peer: unknown peer 's3'. Did you mean 's"),
        ("cut.png --out made", "cut.png: cannot be read as an image"),
        ("colour.npy --out made", "expected (N, 1, H, W) or (N, H, W)"),
        ("vectors.npy --out made", "vectors.npy: shape (5, 144), but the run was trained on"),
        ("float.npy --out made", "float.npy: dtype float64, but the run was trained on uint8"),
        ("one.png a/one.png --out made", "a/one.png: and one.png: what is predicted would be"),
        ("one.png one.jpg --out made", "one.jpg: and one.png: what is predicted would be called"),
        ("one.png one.png --out made", "one.png: is named twice: what is predicted would be"),
        ("one.png --out .", "--out .: one.png is an input, and would be overwritten"),
    ],
)  # fmt: skip
def test_bad_usage_writes_nothing(cli, tmp_path, run, arrays, words, expected):
    make_inputs(tmp_path, arrays)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    said = cli("predict", run, *words.split())
    assert said.status == 2
    assert expected in said.err
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (["--overlay"], "--overlay: shows masks; a run of recipe 'dml' makes none"),
        (
            ["--tile", "8"],
            "--tile 8: for runs that segment images; this one, of recipe 'dml', reads",
        ),
        (["--overlap", "2"], "--overlap 2: for runs that segment images; this one"),
    ],
)
def test_options_of_masks_are_for_masks(cli, tmp_path, trained, option, expected):
    np.save("new.npy", np.zeros((2, 8, 8), np.uint8))
    said = cli("predict", trained, "new.npy", *option)
    assert said.status == 2
    assert expected in said.err


@pytest.mark.parametrize("before", [False, True])
def test_masks_are_all_written_or_none(cli, tmp_path, run, pictures, monkeypatch, before):
    if before:
        assert cli("predict", run, "pictures", "--peer", "s1", "--out", "made").status == 0
    there = {name: (tmp_path / "made" / name).read_bytes() for name in files(tmp_path / "made")}
    save, saved = Image.Image.save, []

    def full(image, path):
        if len(saved) == 2:
            raise OSError(28, "No space left on device")
        saved.append(path)
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    said = cli("predict", run, "pictures", "--peer", "s2", "--out", "made")
    assert said.status == 1
    assert "cannot write made: No space left on device" in said.err
    now = {name: (tmp_path / "made" / name).read_bytes() for name in files(tmp_path / "made")}
    assert now == there
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", *(["made"] * before)}


def test_a_second_prediction_replaces_the_first_and_leaves_other_files(
    cli, tmp_path, run, pictures
):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("mine")
    for who in ("s1", "s2"):
        assert cli("predict", run, "pictures", "--peer", who, "--out", "made").status == 0
        assert cli("predict", run, "pictures", "--peer", who, "--out", who).status == 0
    assert files(tmp_path / "made") == sorted([*files(tmp_path / "s2"), "notes.txt"])
    for name in files(tmp_path / "s2"):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "s2" / name).read_bytes()


def test_ls_names_the_recipes_that_segment(cli):
    for topic in ("models", "data"):
        assert "\nfor styles-segment\n" in cli("ls", topic).out
