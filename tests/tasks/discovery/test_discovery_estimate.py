"""The number of new classes, from stages that the run itself takes over."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from overriding import parsed
from safetensors.torch import load_file

from peerlearn.engine.evaluate import predict
from peerlearn.engine.files import load_state
from peerlearn.engine.run_folder import RunFolder
from peerlearn.errors import InputError
from peerlearn.serving import Predictor, open_run
from peerlearn.systems.registry import find_recipe
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.discovery import class_estimate
from peerlearn.tasks.discovery.class_estimate import estimate_new_classes
from peerlearn.tasks.discovery.reader import assignments, write_assignments

TINY = [
    *("stages.rotation.epochs=1", "stages.supervised.epochs=1", "epochs=1", "batch_size=32"),
    *("transfer.memory=64", "threads=1", "precision=fp32", "peers.global.arguments.width=0.25"),
]


def config(folder: Path, *words: str, unlabelled: str = "unlabelled.npz"):
    recipe, given = find_recipe("discovery")
    pools = [f"data.labelled={folder / 'labelled.npz'}", f"data.unlabelled={folder / unlabelled}"]
    return recipe.resolve(given, parsed(*TINY, *pools, *words))


def run(folder: Path, name: str, *words: str, shared: Path | None = None, **more: str):
    out = folder / name
    run_recipe(find_recipe("discovery")[0], config(folder, *words, **more), out, True, None, shared)
    return open_run(out)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "checkpoints" / "best").glob("*.safetensors"))
    return {
        f"{file.stem}.{name}": tensor for file in files for name, tensor in load_file(file).items()
    }


def test_the_run_takes_over_what_the_estimate_trained_and_is_the_run_that_did_not(own_images):
    estimate = estimate_new_classes(config(own_images), own_images / "run", [2, 3, 4])
    number = f"classes={estimate.count}"
    keys = {p.name for p in (own_images / "run/shared").glob("*.safetensors")}
    assert len(keys) == 2
    run(own_images, "run", number, shared=own_images / "run/shared")
    assert {p.name for p in (own_images / "run/shared").glob("*.safetensors")} == keys
    run(own_images, "alone", number)
    taken, alone = weights(own_images / "run"), weights(own_images / "alone")
    assert taken.keys() == alone.keys()
    assert all(taken[name].equal(alone[name]) for name in alone)


@pytest.mark.parametrize("words", [["classes=3"], ["classes=9"], ["classes=4", "arm=ranking"]])
def test_stages_are_shared_whatever_the_number_of_classes_and_the_arm(own_images, words):
    run(own_images, "first", "classes=5", shared=own_images / "shared")
    before = {path: path.stat().st_mtime_ns for path in (own_images / "shared").iterdir()}
    run(own_images, "second", *words, shared=own_images / "shared")
    assert {path: path.stat().st_mtime_ns for path in (own_images / "shared").iterdir()} == before
    run(own_images, "alone", *words)
    taken, alone = weights(own_images / "second"), weights(own_images / "alone")
    assert all(taken[name].equal(alone[name]) for name in alone)


def test_other_heads_share_rotations_and_learn_known_classes_themselves(own_images):
    run(own_images, "first", "classes=3", shared=own_images / "shared")
    words = ["classes=3", "arm=uno", "uno.hidden=8", "uno.projected=8"]
    run(own_images, "second", *words, shared=own_images / "shared")
    assert len(list((own_images / "shared").iterdir())) == 3
    run(own_images, "alone", *words)
    taken, alone = weights(own_images / "second"), weights(own_images / "alone")
    assert all(taken[name].equal(alone[name]) for name in alone)


def test_what_is_there_is_not_done_again(own_images, monkeypatch):
    first = estimate_new_classes(config(own_images), own_images / "run", [2, 3])
    monkeypatch.setattr(class_estimate, "pretrained", None)
    assert estimate_new_classes(config(own_images), own_images / "run", [3, 2]) == first
    found = json.loads((own_images / "run/classes.json").read_text())
    assert found["count"] == first.count
    assert [score["count"] for score in found["scores"]] == [2, 3]


class Killed(Exception):
    """A process that dies."""


@pytest.mark.parametrize("steps", [1, 6], ids=["in-rotation", "in-supervised"])
def test_a_killed_estimate_goes_on_to_the_same_weights_and_number(own_images, steps):
    left = steps

    def kill(event):
        nonlocal left
        left -= event["event"] == "step"
        if left <= 0:
            raise Killed

    with pytest.raises(Killed):
        estimate_new_classes(config(own_images), own_images / "cut", [2, 3], kill)
    again = estimate_new_classes(config(own_images), own_images / "cut", [2, 3])
    whole = estimate_new_classes(config(own_images), own_images / "whole", [2, 3])
    assert again == whole
    for file in (own_images / "whole/shared").glob("*.safetensors"):
        one, other = load_state(file), load_state(own_images / "cut/shared" / file.name)
        for name, tensor in one["trunk"].items():
            assert tensor.equal(other["trunk"][name])


@pytest.mark.parametrize(
    ("words", "candidates", "message"),
    [
        ([], [1, 2], "candidates 1 to 2 for 100 unlabelled rows; allowed: from 2 to 99"),
        ([], [2, 100], "allowed: from 2 to 99"),
        (["data.overlap=true"], None, "may be of known classes"),
        (["data.unlabelled_known=0.2"], None, "may be of known classes"),
    ],
)
def test_what_cannot_be_counted_is_refused(own_images, words, candidates, message):
    with pytest.raises(InputError, match=message):
        estimate_new_classes(config(own_images, *words), own_images / "run", candidates)
    assert not (own_images / "run").exists()


def test_another_question_in_the_same_folder_is_refused(own_images):
    estimate_new_classes(config(own_images), own_images / "run", [2, 3])
    with pytest.raises(InputError, match=r"classes\.json: was chosen from 2 to 3, now from 2 to 4"):
        estimate_new_classes(config(own_images), own_images / "run", [2, 3, 4])
    with pytest.raises(InputError, match="cannot resume with a changed configuration"):
        estimate_new_classes(config(own_images, "lr=0.3"), own_images / "run", [2, 3])
    (own_images / "run/classes.json").write_text("{}")
    with pytest.raises(InputError, match="not an estimate; delete it"):
        estimate_new_classes(config(own_images), own_images / "run", [2, 3])


def test_fewer_than_four_known_classes_leave_none_to_play_new_ones(own_images):
    with np.load(own_images / "labelled.npz") as file:
        few = file["y_train"] < 3
        arrays = {name: file[name][few] for name in file.files}
    np.savez(own_images / "labelled.npz", **arrays)
    estimate = estimate_new_classes(config(own_images), own_images / "run", [2, 3])
    assert [score.probe_accuracy for score in estimate.scores] == [None, None]


# --- assignments ---


def test_every_unlabelled_image_has_a_line_those_held_out_too(own_images):
    made = run(own_images, "run", unlabelled="told.npz")
    assert made.info.rows["unlabelled"] < 100, "some rows with truth are held out for tests"
    found = assignments(made)
    assert [(a.file, a.row) for a in found] == [
        (str(own_images / "told.npz"), n) for n in range(100)
    ]
    assert {a.cluster for a in found} <= {f"new {number}" for number in range(1, 6)}
    assert all(0.2 <= a.confidence <= 1 for a in found)


def test_assignments_are_the_clusters_that_the_ensemble_was_measured_by(own_images):
    made = run(own_images, "run", "data.test_size=0", "epochs=3", unlabelled="told.npz")
    found = [a.cluster for a in assignments(made)]
    sizes = {name: found.count(name) for name in set(found)}
    ensemble = made.results["arms"][made.arm]["ensemble"]
    assert len(sizes) == ensemble["clusters"]["mean"]
    assert max(sizes.values()) / 100 == pytest.approx(ensemble["largest_cluster"]["mean"])


def test_where_known_classes_may_occur_assignments_name_them(own_images):
    words = ["data.overlap=true", "classes=2", "stages.supervised.epochs=8"]
    made = run(own_images, "run", *words)
    assert made.info.generalised
    assert {a.cluster for a in assignments(made)} & {"0", "1", "2", "3", "4"}


def test_images_of_a_folder_are_told_by_their_files(own_images):
    image = pytest.importorskip("PIL.Image")
    with np.load(own_images / "unlabelled.npz") as file:
        for number, pixels in enumerate(file["x"][:40]):
            path = own_images / "found" / f"{'ab'[number % 2]}" / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(path)
    made = run(own_images, "run", "classes=3", unlabelled="found")
    found = assignments(made)
    assert len(found) == 40
    assert found[1].file == str(own_images / "found/a/02.png")
    assert {a.row for a in found} == {0}


def test_assignments_are_written_whole(own_images):
    made = assignments(run(own_images, "run", "classes=3"))
    out = own_images / "run/assignments.csv"
    write_assignments(out, made)
    first, *lines = out.read_text().splitlines()
    assert first == "file,row,cluster,confidence"
    assert lines[7] == f"{made[7].file},7,{made[7].cluster},{made[7].confidence:.6g}"
    assert not list(out.parent.glob(".assign*"))


def test_other_runs_have_no_assignments(own_images):
    recipe, given = find_recipe("dml")
    words = ["peers.a.model=cnn", "peers.b.model=cnn", "epochs=1", "data.train_size=60"]
    run_recipe(recipe, recipe.resolve(given, parsed(*words, "threads=1")), own_images / "dml")
    with pytest.raises(InputError, match="recipe 'dml', which discovers no classes"):
        assignments(open_run(own_images / "dml"))
    recipe, given = find_recipe("discovery")
    words = [*TINY, "data.train_size=100"]
    run_recipe(recipe, recipe.resolve(given, parsed(*words)), own_images / "digits")
    with pytest.raises(InputError, match="has no file of unlabelled rows"):
        assignments(open_run(own_images / "digits"))


# --- contact sheets ---


def test_contact_sheets_hold_the_surest_images_of_every_cluster(own_images):
    made = run(own_images, "run", "data.test_size=0", "epochs=3", unlabelled="told.npz")
    found = assignments(made)
    with np.load(RunFolder(made.folder).gallery) as file:
        sheets = {name: file[name] for name in file.files}
    with np.load(own_images / "told.npz") as file:
        x, y = file["x"], file["y"]
    assert set(sheets["clusters"]) == {a.cluster for a in found}
    for number, name in enumerate(sheets["clusters"]):
        rows = [n for n, a in enumerate(found) if a.cluster == name]
        assert sheets["sizes"][number] == len(rows)
        best = sorted(rows, key=lambda n: -found[n].confidence)[:12]
        shown = np.isfinite(sheets["confidence"][number])
        assert shown.sum() == len(best)
        expected = [found[n].confidence for n in best]
        assert sheets["confidence"][number][shown] == pytest.approx(expected, rel=1e-5)
        assert sorted(map(bytes, sheets["images"][number][shown])) == sorted(map(bytes, x[best]))
        counts = np.bincount(y[rows])
        assert sheets["classes"][number] in {str(c) for c in np.flatnonzero(counts == counts.max())}
        assert sheets["shares"][number] == pytest.approx(counts.max() / len(rows))


def test_contact_sheets_without_truth_name_no_class(own_images):
    made = run(own_images, "run", "classes=3")
    with np.load(RunFolder(made.folder).gallery) as file:
        assert set(file["classes"]) == {""}
        assert np.isnan(file["shares"]).all()


# --- one numbering of clusters ---


def test_predictions_of_every_peer_number_clusters_as_the_ensemble_does(own_images):
    made = run(own_images, "run", "classes=4", "epochs=3", "seed=1")
    orders = made.info.orders
    assert list(orders) == ["global", "local"]
    assert orders["global"] == (0, 1, 2, 3) != orders["local"], "or nothing is tested"
    files = [own_images / "unlabelled.npz"]
    told = {}
    for who in ("global", "local", "ensemble"):
        (found,) = Predictor(made, who, among="all").predict(files)
        told[who] = found.probabilities
    (rows,) = made.reader.inputs(files, {})
    peers = {"local": made.cohort.peers["local"]}
    ((logits, _),) = predict(peers, rows.batches, made.precision(), made.cohort.trunk)
    raw = logits["local"].double().softmax(1)
    columns = [0, 1, 2, 3, 4, *(5 + n for n in orders["local"])]
    torch.testing.assert_close(told["local"], raw[:, columns])
    torch.testing.assert_close(told["ensemble"], (told["global"] + told["local"]) / 2)
