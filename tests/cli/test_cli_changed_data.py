"""A run or a comparison is not continued on other data; measuring again says that they changed."""

import json
import shutil

import numpy as np
import pytest
import torch
from overriding import over
from PIL import Image
from tiny_commands import TINY as SUBSET
from tiny_commands import small_arrays

from peerlearn.data.fingerprint import changes, data_fingerprint, digest
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec

TINY = over(*SUBSET, "data.train_size=null")


def cut_short(folder):
    """As a run is that was killed after its last epoch."""
    (folder / "results.json").unlink()


def saved(path, **changes):
    np.savez(path, **(small_arrays() | changes))


def other(key):
    array = small_arrays()[key]
    return np.roll(array, 1) if key.startswith("y") else 255 - array


@pytest.fixture
def begun(cli, tmp_path):
    """A run that was cut short, in `run`."""
    saved(tmp_path / "my.npz")
    assert cli("run", "dml", *TINY, "--data", "my.npz", "--out", "run").status == 0
    cut_short(tmp_path / "run")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x_train": other("x_train")}, "x of train differs"),
        ({"x_test": other("x_test")}, "x of test differs"),
        ({"y_train": other("y_train")}, "labels of train differ"),
        (
            {"x_test": small_arrays()["x_test"][:-2], "y_test": small_arrays()["y_test"][:-2]},
            "2 rows fewer in test: ",
        ),
        ({"class_names": np.array(["a", "b", "c"])}, "classes were 0, 1, 2, now a, b, c"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_resume_on_other_data_is_refused_and_says_what_changed(cli, begun, changed, said):
    saved(begun / "my.npz", **changed)
    found = cli("run", "dml", *TINY, "--data", "my.npz", "--out", "run", "--resume")
    assert found.status == 2 and said in found.err, found.err
    assert "run: cannot resume, for the data changed since it began" in found.err
    saved(begun / "my.npz")
    assert cli("run", "dml", *TINY, "--data", "my.npz", "--out", "run", "--resume").status == 0


def test_resume_finds_the_same_data_at_another_place(cli, begun):
    (begun / "elsewhere").mkdir()
    (begun / "my.npz").rename(begun / "elsewhere" / "my.npz")
    told = ["run", "dml", *TINY, "--out", "run", "--resume", "--data"]
    saved(begun / "other.npz", y_train=other("y_train"))
    found = cli(*told, "other.npz")
    assert found.status == 2
    assert "data.name: was 'my.npz', now 'other.npz'\n  labels of train differ" in found.err
    assert cli(*told, "elsewhere/my.npz").status == 0
    assert cli("eval", "run").status == 0  # the run now knows where they are
    found = cli(*told, "other.npz")  # finished, and still not of those
    assert found.status == 2 and "labels of train differ" in found.err


def test_a_run_of_an_older_version_goes_on(cli, begun):
    (begun / "run" / "fingerprint.json").unlink()
    saved(begun / "my.npz", x_train=other("x_train"))
    assert cli("run", "dml", *TINY, "--data", "my.npz", "--out", "run", "--resume").status == 0


def test_measuring_again_on_changed_data_warns(cli, tmp_path):
    saved(tmp_path / "my.npz")
    cli("run", "dml", *TINY, "--data", "my.npz", "--out", "run")
    assert "warning" not in cli("eval", "run").err
    test = {key: small_arrays()[key][:-3] for key in ("x_test", "y_test")}
    saved(tmp_path / "my.npz", **test)
    found = cli("eval", "run")
    assert found.status == 0
    assert "warning: the data of the run changed since it was trained: 3 rows fewer in test" in (
        " ".join(found.err.split())
    )


def test_a_comparison_is_not_continued_on_other_data(cli, tmp_path):
    saved(tmp_path / "my.npz")
    compare = ["compare", "dml", *TINY, "--data", "my.npz", "--arms", "mutual", "--out", "versus"]
    assert cli(*compare, "--seeds", "0").status == 0
    saved(tmp_path / "my.npz", x_train=other("x_train"))
    for seeds in ("1", "0-1"):
        found = cli(*compare, "--seeds", seeds, "--resume")
        assert found.status == 2 and "x of train differs" in found.err
    assert cli(*compare, "--seeds", "0", "--resume").status == 0, "what is finished reads no data"
    saved(tmp_path / "my.npz")
    assert cli(*compare, "--seeds", "0-1", "--resume").status == 0


def test_a_comparison_finds_the_same_data_at_another_place(cli, tmp_path):
    saved(tmp_path / "my.npz")
    compare = ["compare", "dml", *TINY, "--arms", "mutual", "--out", "versus", "--data"]
    assert cli(*compare, "my.npz", "--seeds", "0").status == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "my.npz").rename(tmp_path / "elsewhere" / "my.npz")
    saved(tmp_path / "other.npz", y_train=other("y_train"))
    trained = (tmp_path / "versus/cells/mutual/seed-0/results.json").read_bytes()
    shutil.rmtree(tmp_path / "versus/cells/mutual/seed-0/checkpoints/last")
    for seeds in ("0", "1", "0-1"):
        found = cli(*compare, "other.npz", "--seeds", seeds, "--resume")
        assert found.status == 2 and "labels of train differ" in found.err
        assert "data.name: was 'my.npz', now 'other.npz'" in found.err
    found = cli(*compare, "elsewhere/my.npz", "--seeds", "0-1", "--resume")
    assert found.status == 0, found.err
    cell = tmp_path / "versus/cells/mutual/seed-0"
    assert (cell / "results.json").read_bytes() == trained, "trained again"
    assert cli("eval", str(cell)).status == 0  # it knows where the data are
    assert cli("compare", "versus/config.yaml", *compare[-3:-1], "--resume").status == 0


def test_other_choices_of_rows_are_another_configuration_still(cli, tmp_path):
    saved(tmp_path / "my.npz")
    more = ["--arms", "mutual", "--out", "versus", "--seeds", "0", "--data"]
    assert cli("compare", "dml", *TINY, *more, "my.npz").status == 0
    saved(tmp_path / "same.npz")
    fewer = over(*TINY, "data.train_size=9")
    found = cli("compare", "dml", *fewer, *more, "same.npz", "--resume")
    assert found.status == 2 and "data.train_size: was None, now 9" in found.err
    assert "data.name: was 'my.npz', now 'same.npz'" in found.err


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """`elsewhere()` goes to another folder, from which `tmp_path` is `..`."""
    (tmp_path / "deeper").mkdir()
    return lambda: monkeypatch.chdir(tmp_path / "deeper")


def test_a_run_goes_on_from_another_folder(cli, begun, elsewhere):
    best = begun / "run" / "checkpoints" / "best" / "a.safetensors"
    shutil.copy(best, begun / "start.safetensors")
    told = ["--data", "my.npz", "peers.a.weights=start.safetensors", "--out", "new"]
    assert cli("run", "dml", *TINY, *told).status == 0
    cut_short(begun / "new")
    typed = (begun / "new" / "config.yaml").read_text()
    elsewhere()
    found = cli("run", "../new/config.yaml", "--out", "../new", "--resume")
    assert found.status == 0, found.err
    assert (begun / "new" / "config.yaml").read_text() == typed, "paths stay as they were typed"
    found = cli("run", "../new/config.yaml", "epochs=3", "--out", "../new", "--resume")
    assert found.status == 0, found.err
    assert cli("run", "../new/config.yaml", "epochs=1", "--out", "../another").status == 0
    assert f"name: {begun}/my.npz" in (begun / "another" / "config.yaml").read_text()


def test_peers_meet_in_one_folder_from_wherever_a_run_goes_on(cli, begun, elsewhere):
    shared = "transport={kind: snapshot, folder: shared, peer: a}"
    assert cli("run", "dml", *TINY, "--data", "my.npz", shared, "--out", "new").status == 0
    published = begun / "shared" / "a" / "snapshot.safetensors"
    before = published.read_bytes()
    elsewhere()
    found = cli("run", "../new/config.yaml", "epochs=3", "--out", "../new", "--resume")
    assert found.status == 0, found.err
    assert published.read_bytes() != before
    assert not (begun / "deeper" / "shared").exists()


def test_a_comparison_goes_on_from_another_folder(cli, tmp_path, elsewhere):
    saved(tmp_path / "my.npz")
    arms = "arms={plain: {}, other: {data.name: my.npz, lr: 0.01}}"
    compare = ["compare", "dml", *TINY, arms, "--data", "my.npz", "--out", "versus"]
    assert cli(*compare, "--seeds", "0").status == 0
    typed = (tmp_path / "versus" / "config.yaml").read_text()
    elsewhere()
    compare = ["compare", "../versus/config.yaml", "--out", "../versus", "--resume"]
    found = cli(*compare, "--seeds", "0-1")
    assert found.status == 0, found.err
    assert (tmp_path / "versus" / "config.yaml").read_text().count("name: my.npz") == (
        typed.count("name: my.npz")
    )


def test_weights_that_a_peer_begins_with_are_part_of_the_data(cli, tmp_path):
    saved(tmp_path / "my.npz")
    assert cli("run", "dml", *TINY, "--data", "my.npz", "--out", "first").status == 0
    best = tmp_path / "first" / "checkpoints" / "best"
    shutil.copy(best / "a.safetensors", tmp_path / "start.safetensors")
    told = [*TINY, "peers.a.weights=start.safetensors", "--data", "my.npz", "--out", "run"]
    assert cli("run", "dml", *told).status == 0
    cut_short(tmp_path / "run")
    cli("run", "dml", *TINY, "--seed", "5", "--data", "my.npz", "--out", "second")
    shutil.copy(
        tmp_path / "second" / "checkpoints" / "best" / "a.safetensors",
        tmp_path / "start.safetensors",
    )
    found = cli("run", "dml", *told, "--resume")
    assert found.status == 2 and "peers.a.weights: start.safetensors differs" in found.err


def folder_of_images(path):
    draw = np.random.default_rng(0)
    for part, rows in (("train", 8), ("test", 3)):
        for label in "ab":
            (path / part / label).mkdir(parents=True)
            for row in range(rows):
                pixels = draw.integers(0, 256, (6, 6), dtype=np.uint8)
                Image.fromarray(pixels).save(path / part / label / f"{row}.png")


@pytest.mark.parametrize("in_memory", [True, False])
def test_folders_are_known_by_their_files(tmp_path, in_memory):
    folder_of_images(tmp_path / "images")
    spec = DataSpec(name=str(tmp_path / "images"), in_memory=in_memory)
    before = json.loads(json.dumps(data_fingerprint(load_dataset(spec))))
    shutil.move(tmp_path / "images", tmp_path / "moved")
    spec = DataSpec(name=str(tmp_path / "moved"), in_memory=in_memory)
    assert changes(before, data_fingerprint(load_dataset(spec))) == []
    Image.fromarray(np.zeros((6, 6), np.uint8)).save(tmp_path / "moved" / "test" / "a" / "1.png")
    said = changes(before, data_fingerprint(load_dataset(spec)))
    assert any(each.startswith("x of test differs") for each in said)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_hash_is_of_values_however_they_lie_in_memory(rows):
    repeated = torch.ones(1, dtype=torch.int64).expand(rows)
    assert digest(repeated) == digest(torch.ones(rows, dtype=torch.int64))
    assert digest(torch.arange(6)[::2][:rows]) == digest(2 * torch.arange(rows))


def test_results_say_what_was_left_out(cli, tmp_path):
    folder_of_images(tmp_path / "images")
    (tmp_path / "images" / "train" / "a" / "notes.txt").write_text("")
    words = ["dml", *over(*TINY, "epochs=1"), "--data", "images"]
    assert cli("run", *words, "--out", "run").status == 0
    assert cli("compare", *words, "--arms", "mutual", "--seeds", "0,1", "--out", "two").status == 0
    for folder in ("run", "two"):
        said = json.loads((tmp_path / folder / "results.json").read_text())["account"]
        assert said.count("left out 1 (no image): train/a/notes.txt") == 1
    told = cli("eval", "run").err.splitlines()
    assert "left out 1 (no image): train/a/notes.txt" in told
