"""`predict`: labels for new rows, from nothing but the run folder."""

import csv
import io
import json
import os

import numpy as np
import pytest
from overriding import over
from tiny_commands import TINY, small_arrays


@pytest.fixture
def run(cli, tmp_path):
    """A run on three named classes; its data are deleted. Returns the test rows."""
    arrays = small_arrays() | {"class_names": np.array(["ant", "bee", "cat"])}
    np.savez(tmp_path / "my.npz", **arrays)
    words = ["data.train_size=null", "epochs=3", "--data", "my.npz", "--out", "run"]
    assert cli("run", "dml", *over(*TINY, *words)).status == 0
    (tmp_path / "my.npz").unlink()
    np.savez(tmp_path / "new.npz", x=arrays["x_test"])
    return arrays["x_test"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def probabilities(text: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in ("ant", "bee", "cat")] for row in rows(text)])


def test_a_row_of_csv_for_every_row_of_input(cli, run):
    said = cli("predict", "run", "new.npz")
    made = rows(said.out)
    assert said.status == 0
    assert said.out.splitlines()[0] == "input,row,label,probability"
    assert [int(row["row"]) for row in made] == list(range(60))
    assert {row["input"] for row in made} == {"new.npz"}
    assert {row["label"] for row in made} <= {"ant", "bee", "cat"}


def test_predictions_are_those_that_the_run_was_measured_on(cli, tmp_path, run):
    """Accuracy computed from the csv equals results.json: weights, normalisation, class order."""
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    block = results["arms"]["mutual"]
    truth = np.array(["ant", "bee", "cat"])[np.arange(60) % 3]
    for who in ("a", "b", "ensemble"):
        labels = [row["label"] for row in rows(cli("predict", "run", "new.npz", "--peer", who).out)]
        measured = block["ensemble"] if who == "ensemble" else block["peers"][who]
        assert np.mean(labels == truth) == pytest.approx(measured["accuracy"]["mean"])


def test_best_is_the_peer_that_validation_chose(cli, tmp_path, run):
    path = tmp_path / "run" / "results.json"
    results = json.loads(path.read_text())
    for best, other in (("a", "b"), ("b", "a")):
        known = results["arms"]["mutual"]["validation"]
        known[best]["accuracy"]["mean"], known[other]["accuracy"]["mean"] = 0.9, 0.4
        path.write_text(json.dumps(results))
        assert cli("predict", "run", "new.npz") == cli("predict", "run", "new.npz", "--peer", best)
    assert (
        cli("predict", "run", "new.npz", "--peer", "a").out
        != cli("predict", "run", "new.npz", "--peer", "b").out
    )


def test_where_nothing_was_selected_best_is_an_error(cli, run_folder):
    results = json.loads((run_folder / "results.json").read_text())
    (arm,) = results["arms"].values()
    del arm["validation"]
    (run_folder / "results.json").write_text(json.dumps(results | {"selected": {}}))
    np.save("new.npy", np.zeros((2, 8, 8), np.uint8))
    said = cli("predict", "run", "new.npy")
    assert said.status == 2
    assert "allowed: a, b, ensemble" in said.err
    assert cli("predict", "run", "new.npy", "--peer", "a").status == 0


def test_the_ensemble_is_the_mean_of_probabilities(cli, run):
    a, b, both = (
        probabilities(cli("predict", "run", "new.npz", "--probabilities", "--peer", who).out)
        for who in ("a", "b", "ensemble")
    )
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-5)
    np.testing.assert_allclose(both.sum(1), 1, atol=1e-5)


def test_images_folders_and_arrays_agree(cli, tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    image.fromarray(run[0]).save(tmp_path / "pictures" / "one.png")
    image.fromarray(run[1]).save(tmp_path / "pictures" / "deep" / "two.png")
    np.save(tmp_path / "two.npy", run[:2, None])
    np.savez(tmp_path / "two.npz", x_test=run[:2])
    made = rows(cli("predict", "run", "pictures", "two.npy", "two.npz", "--probabilities").out)
    by_name = {(row["input"], row["row"]): list(row.values())[2:] for row in made}
    for first, second in (("two.npy", "two.npz"),):
        assert by_name[first, "0"] == by_name[second, "0"] == by_name["pictures/one.png", "0"]
        assert by_name[first, "1"] == by_name[second, "1"] == by_name["pictures/deep/two.png", "0"]


def test_a_file_is_written_whole_or_not_at_all(cli, tmp_path, run, monkeypatch):
    said = cli("predict", "run", "new.npz", "--out", "made/p.csv")
    assert said.out == ""
    assert "made/p.csv: 60 rows" in said.err
    written = (tmp_path / "made" / "p.csv").read_text()
    assert written == cli("predict", "run", "new.npz").out

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = cli("predict", "run", "new.npz", "--peer", "ensemble", "--out", "made/p.csv")
    assert said.status == 1
    assert "cannot write made/p.csv: No space left on device" in said.err
    assert (tmp_path / "made" / "p.csv").read_text() == written
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["p.csv"]


def test_images_are_fitted_as_in_training(cli, tmp_path):
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for number in range(60):
        name, shade = ("dark", 0) if number % 2 else ("light", 150)
        folder = tmp_path / "pictures" / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = shade + draw.integers(0, 100, (9 + number % 3, 12, 3))
        image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    words = ["data.train_size=null", "batch_size=16", "data.size=8", "--data", "pictures"]
    assert cli("run", "dml", *over(*TINY, *words, "epochs=8"), "--out", "run").status == 0
    (tmp_path / "pictures").rename(tmp_path / "moved")
    made = rows(cli("predict", "run", "moved", "--peer", "ensemble").out)
    truth = [row["input"].split("/")[-2] for row in made]
    assert len(made) == 60
    assert np.mean([row["label"] == name for row, name in zip(made, truth, strict=True)]) > 0.9
    assert cli("eval", "run", "--data", "moved").status == 0
    photo = tmp_path / "moved" / "train" / "dark" / "1.png"
    (row,) = rows(cli("predict", "run", str(photo), "--peer", "a", "--probabilities").out)
    assert float(row["dark"]) == pytest.approx(in_plain_pytorch(tmp_path / "run", photo), abs=1e-5)


def in_plain_pytorch(run, photo) -> float:
    """The probability of the first class, by what the header of the weights and the page say."""
    import torch
    from PIL import Image, ImageOps
    from safetensors import safe_open
    from safetensors.torch import load_file

    from peerlearn.models import build_model

    file = run / "checkpoints" / "best" / "a.safetensors"
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    assert (about["size"], about["fit"]) == ("8", "crop")
    arguments = json.loads(about["arguments"])
    net = build_model(about["model"], (3, 8, 8), classes=2, arguments=arguments).eval()
    net.load_state_dict(load_file(file))
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    fitted = np.array(ImageOps.fit(image, (8, 8), Image.Resampling.BICUBIC))
    x = torch.from_numpy(fitted).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(json.loads(about[key])).view(1, -1, 1, 1) for key in ("mean", "std"))
    return net((x - mean) / std).logits.softmax(1)[0, 0].item()


def make_inputs(folder, rows) -> None:
    image = pytest.importorskip("PIL.Image")
    np.save(folder / "wrong.npy", rows[:, :7])
    np.save(folder / "float.npy", rows / 255)
    np.save(folder / "long.npy", rows.astype(np.int64))
    np.save(folder / "none.npy", rows[:0])
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    np.savez(folder / "names.npz", rows=rows)
    np.savez(folder / "objects.npz", x=np.array([{}], dtype=object))
    for name in ("float.npy", "names.npz"):
        (folder / f"cut-{name}").write_bytes((folder / name).read_bytes()[:180])
    (folder / "text.npy").write_text("hello")
    (folder / "notes.txt").touch()
    (folder / "empty").mkdir()
    image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / "large.png")
    image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "colour.png")
    image.fromarray(rows[0]).save(folder / "grey.png")
    (folder / "cut.png").write_bytes((folder / "grey.png").read_bytes()[:60])
    for name in ("pipe.png", "pipe.npz"):
        os.mkfifo(folder / name)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("wrong.npy", "shape (60, 7, 8), but the run was trained on uint8 rows of shape (1, 8, 8)"),
        ("wrong.npy", "expected (N, 1, 8, 8) or (N, 8, 8)"),
        ("float.npy", "dtype float64, but the run was trained on uint8"),
        ("long.npy", "dtype int64, but the run was trained on uint8"),
        ("none.npy", "there is no row to predict"),
        ("objects.npy", "holds pickled Python objects, which are never loaded"),
        ("objects.npz", "'x' holds pickled Python objects"),
        ("names.npz", "no array x or x_test; found rows"),
        ("cut-float.npy", "cut short"),
        ("cut-names.npz", "cut short"),
        ("text.npy", "not a .npy file"),
        ("notes.txt", "found a .txt; allowed: .npz, .npy, .png"),
        ("empty", "no images in this folder"),
        ("pipe.png", "is neither a file nor a folder"),
        ("pipe.npz", "is neither a file nor a folder"),
        ("larg.png", "no such file or folder. Did you mean large.png?"),
    ],
)
def test_wrong_inputs_are_named(cli, tmp_path, run, file, expected):
    make_inputs(tmp_path, run)
    said = cli("predict", "run", "new.npz", file, "--out", "p.csv")
    assert said.status == 2
    assert said.err.startswith(f"peerlearn: {file}: ")
    assert expected in said.err
    assert not (tmp_path / "p.csv").exists()


def test_a_damaged_image_does_not_stop_the_others(cli, tmp_path, run):
    make_inputs(tmp_path, run)
    said = cli("predict", "run", "grey.png", "cut.png", "--out", "p.csv", "--probabilities")
    assert said.status == 1
    assert "p.csv: 1 row, by peer" in said.err
    assert "1 input could not be read:\n  cut.png: cannot be read as an image" in said.err
    good, bad = rows((tmp_path / "p.csv").read_text())
    assert (good["input"], good["label"] in ("ant", "bee", "cat")) == ("grey.png", True)
    assert list(bad.values()) == ["cut.png", "0", *[""] * 5]


def test_where_every_image_is_damaged_nothing_is_written(cli, tmp_path, run):
    make_inputs(tmp_path, run)
    said = cli("predict", "run", "cut.png", "--out", "p.csv")
    assert said.status == 2
    assert said.err.startswith("peerlearn: cut.png: cannot be read as an image")
    assert not (tmp_path / "p.csv").exists()


def test_images_of_other_sizes_and_colours_are_read_as_those_of_training(cli, tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(run[0])
    picture.resize((16, 16), image.Resampling.NEAREST).convert("RGB").save(tmp_path / "big.png")
    picture.save(tmp_path / "own.png")
    said = cli("predict", "run", "own.png", "big.png", "--probabilities")
    assert said.status == 0
    own, big = probabilities(said.out)
    np.testing.assert_allclose(own, big, atol=0.05)
    assert "1 image fitted to 8×8, centre-cropped (data.fit: crop)\n" in said.err
    assert "1 coloured image of 2 read as grey" in said.err


def test_hidden_folders_are_not_predicted(cli, tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    for folder in ("p", "p/.ipynb_checkpoints", "p/__MACOSX"):
        (tmp_path / folder).mkdir()
        image.fromarray(run[0]).save(tmp_path / folder / "a.webp", lossless=True)
    (tmp_path / "p" / "notes.txt").touch()
    said = cli("predict", "run", "p")
    assert [row["input"] for row in rows(said.out)] == ["p/a.webp"]
    assert "left out 2 (hidden): .ipynb_checkpoints/, __MACOSX/" in said.err
    assert "left out 1 (no image): notes.txt" in said.err


def test_names_that_are_not_utf8_come_out_escaped(cli, tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "p").mkdir()
    image.fromarray(run[0]).save(tmp_path / "p" / "caf\udce9.png")
    (tmp_path / "p" / "th\udce9.png").write_bytes(b"no image")
    said = cli("predict", "run", "p", "--out", "p.csv")
    assert said.status == 1
    assert r"p/th\xe9.png: cannot be read as an image" in said.err
    made = rows((tmp_path / "p.csv").read_text(encoding="utf-8"))
    assert [row["input"] for row in made] == [r"p/caf\xe9.png", r"p/th\xe9.png"]


def test_an_unknown_peer(cli, run):
    said = cli("predict", "run", "new.npz", "--peer", "bets")
    assert said.status == 2
    assert "--peer: unknown peer 'bets'. Did you mean 'best'? Allowed: a, b, best" in said.err


def test_classes_are_chosen_among_where_some_were_discovered(cli, run):
    said = cli("predict", "run", "new.npz", "--among", "known")
    assert said.status == 2
    assert "--among known: for runs that discover classes; this one, of recipe 'dml'" in said.err


def test_several_labels_a_row(cli, tmp_path):
    arrays = small_arrays()
    for part in ("train", "val", "test"):
        y = arrays[f"y_{part}"]
        arrays[f"y_{part}"] = np.stack([y > 0, y > 1], 1).astype(np.int64)
    np.savez(tmp_path / "my.npz", **arrays, class_names=np.array(["grey", "light"]))
    words = ["data.train_size=null", "epochs=8", "lr=0.2", "--data", "my.npz", "--out", "run"]
    assert cli("run", "dml", *over(*TINY, *words)).status == 0
    said = cli("predict", "run", "my.npz", "--probabilities")
    assert {"", "grey|light"} <= {row["label"] for row in rows(said.out)}
    for row in rows(said.out):
        p = [float(row["grey"]), float(row["light"])]
        names = [name for name, each in zip(("grey", "light"), p, strict=True) if each > 0.5]
        assert row["label"] == "|".join(names)
        assert float(row["probability"]) == pytest.approx(
            np.prod([max(each, 1 - each) for each in p]), abs=1e-4
        )
