"""Classes of other data are told by their names, and by number only where there are none."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import peerlearn
from peerlearn.errors import InputError
from peerlearn.reading.class_names import Names, matched_classes
from peerlearn.serving import evaluate_run, open_run

CLASSES = 12
PARTS = {"train": 6, "val": 2, "test": 4}


def pictures(part, label):
    """Grey images of one class: a bright bar in a place of its own, and noise."""
    draw = np.random.default_rng([label, len(part)])
    x = draw.integers(0, 60, (PARTS[part], 12, 12), dtype=np.uint8)
    x[:, label] = 250
    return x


def as_npz(path, names=None):
    given = {}
    for part in PARTS:
        given[f"x_{part}"] = np.concatenate([pictures(part, c) for c in range(CLASSES)])
        given[f"y_{part}"] = np.repeat(np.arange(CLASSES), PARTS[part])
    np.savez(path, **given | ({} if names is None else {"class_names": np.array(names)}))
    return str(path)


def as_folder(path, names, classes=range(CLASSES)):
    for part in PARTS:
        for label in classes:
            folder = path / part / names[label]
            folder.mkdir(parents=True)
            for number, image in enumerate(pictures(part, label)):
                Image.fromarray(image).save(folder / f"{number}.png")
    return str(path)


NUMBERS = [str(n) for n in range(CLASSES)]
WORDS = [f"{'xyzabcdefghi'[n]}-word" for n in range(CLASSES)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("classes")


@pytest.fixture(scope="module")
def data(home):
    return {
        "folder": as_folder(home / "folder", NUMBERS),
        "npz": as_npz(home / "plain.npz"),
        "words": as_folder(home / "words", WORDS),
        "some": as_folder(home / "some", NUMBERS, (2, 10, 11)),
        "named": as_npz(home / "named.npz", sorted(WORDS)),
    }


@pytest.fixture(scope="module")
def trained(home, data):
    def run(name):
        out = home / f"run-{name}"
        if not out.exists():
            changes = {"peers.a.model": "mlp", "peers.b.model": "mlp", "augment.crop": 0}
            recipe = peerlearn.recipe("dml", changes, data=data[name], epochs=8, batch_size=12)
            recipe.run(out=out)
        return open_run(out)

    return run


def accuracy(results):
    (arm,) = results["arms"].values()
    return arm["ensemble"]["accuracy"]["mean"]


@pytest.mark.parametrize("mine", ["folder", "npz"])
def test_folders_of_numbers_and_labels_are_the_same_classes_both_ways(trained, data, mine):
    run, other = trained(mine), {"folder": "npz", "npz": "folder"}[mine]
    assert run.info.class_names == tuple(NUMBERS)
    assert run.info.named == (mine == "folder")
    own = accuracy(evaluate_run(run))
    assert own > 0.9
    assert accuracy(evaluate_run(run, data[other])) == own
    assert run.reader.account.notes == ()


def test_some_of_the_classes_are_told_by_their_names(trained, data):
    run = trained("npz")
    assert accuracy(evaluate_run(run, data["some"])) > 0.9


@pytest.mark.parametrize(("mine", "other"), [("words", "npz"), ("npz", "words")])
def test_classes_are_matched_by_number_only_where_a_side_has_no_names_and_that_is_said(
    trained, data, mine, other
):
    run = trained(mine)
    results = evaluate_run(run, data[other])
    place = sorted(range(CLASSES), key=lambda c: WORDS[c])  # of folder names in their order
    assert accuracy(results) < 0.9, "words stand in another order than the labels"
    (note,) = [note for note in run.reader.account.notes if "matched by number" in note]
    first = ("0", WORDS[place[0]]) if mine == "words" else (WORDS[place[0]], "0")
    assert f"{first[0]} is {first[1]!r}" in note


def test_other_names_are_refused_by_name(trained, data):
    with pytest.raises(
        InputError, match=r"--data .*words: classes .*a-word.* are not those .*2 more"
    ):
        evaluate_run(trained("folder"), data["words"])


def test_an_older_run_keeps_the_order_in_which_it_was_trained(trained, data):
    """Folders were sorted as texts: 0, 1, 10, 11, 2, …; and `named` was not known."""
    run = trained("folder")
    path = Path(run.folder) / "data.json"
    as_written = path.read_text()
    info = json.loads(as_written)
    info["class_names"] = sorted(info["class_names"])
    del info["named"]
    fingerprint = path.with_name("fingerprint.json")
    kept = fingerprint.read_bytes()
    try:
        path.write_text(json.dumps(info))
        fingerprint.unlink()
        older = open_run(run.folder)
        order = [sorted(NUMBERS).index(name) for name in NUMBERS]
        own = evaluate_run(older)
        assert accuracy(own) < 0.4, "its networks were trained in another order"
        assert accuracy(own) == accuracy(evaluate_run(older, data["npz"]))
        assert older.reader.account.notes == () and order[2] == 4
    finally:
        path.write_text(as_written)
        fingerprint.write_bytes(kept)


def names(*given, real=True):
    return Names(given, real)


@pytest.mark.parametrize(
    ("own", "places", "said"),
    [
        (names("b", "a"), [1, 0], None),
        (names("c"), [2], None),
        (names("0", "1", real=False), [0, 1], "0 is 'a', 1 is 'b'"),
    ],
)
def test_places_of_classes(own, places, said):
    found, note = matched_classes(names("a", "b", "c"), own, "--data x")
    assert found == places
    assert (note is None) == (said is None) and (said or "") in (note or "")


@pytest.mark.parametrize(
    ("trained", "own", "said"),
    [
        (names("a", "b"), names("a", "bee"), "classes bee are not .*: a, b. Did you mean 'b'"),
        (names("1", "2"), names("0", "1", real=False), "classes 0 are not .*: 1, 2"),
        (names("0", "1", real=False), names("5", "7"), "classes 5, 7 are not"),
        (names("a", "b"), names("0", "1", "2", real=False), "3 classes, .* trained on 2"),
    ],
)
def test_classes_that_the_run_does_not_know_are_refused(trained, own, said):
    with pytest.raises(InputError, match=said):
        matched_classes(trained, own, "--data x")


def test_labels_that_may_overlap_are_told_by_name_all_of_them():
    several = names("a", "b", "c")
    assert matched_classes(several, names("c", "a", "b"), "x", all_of_them=True)[0] == [2, 0, 1]
    with pytest.raises(InputError, match="classes a, b are not those"):
        matched_classes(several, names("a", "b"), "x", all_of_them=True)
