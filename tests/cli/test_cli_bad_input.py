"""Bad input ends with status 2, one message that names it, and nothing written."""

import json
import os
import stat

import numpy as np
import pytest
from overriding import over
from tiny_commands import TINY, small_arrays


def refused(said, *expected: str) -> None:
    assert said.status == 2, said
    assert said.err.startswith("peerlearn: ")
    assert "Traceback" not in said.err
    for part in expected:
        assert part in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dlm"], "unknown recipe 'dlm'. Did you mean 'dml'?"),
        (["dml", "epcohs=3"], "epcohs: unknown key. Did you mean 'epochs'?"),
        (["dml", "epochs"], "'epochs': expected KEY=VALUE"),
        (["dml", "epochs=many"], "epochs: found 'many'; expected a whole number"),
        (["dml", "epochs=0"], "epochs: input should be greater than or equal to 1; found 0"),
        (["dml", "epochs.a=3"], "epochs.a: epochs is 30, which has no keys"),
        (["dml", "epochs=[1"], "epochs: '[1' is not a YAML value"),
        (["dml", "transfer.wieght=2"], "transfer.wieght: unknown key. Did you mean 'weight'?"),
        (["dml", "peers.a.modle=mlp"], "peers.a.modle: unknown key. Did you mean 'model'?"),
        (["dml", "data.train_sise=9"], "data.train_sise: unknown key. Did you mean 'train_size'?"),
        (["dml", "optimiser.name=sdg"], "optimiser.name: "),
        (["dml", "transfer.edges=[{from: a, to: bb}]"], "transfer.edges.0.to: unknown peer 'bb'"),
        (["dml", "transfer.edges=[{form: a}]"], "transfer.edges.0.form: unknown key."),
        (["dml", "transfer.divergence=kll"], "transfer.divergence: found 'kll'. Did you mean 'kl'"),
        (["dml", "peers.a.model=cnnn"], "peers.a.model: unknown model 'cnnn'. Did you mean 'cnn'?"),
        (["dml", "peers.a.arguments.widht=2"], "Did you mean 'width'?"),
        (["dml", "peers.a.model=python:nowhere:f"], "peers.a.model: 'python:nowhere:f'"),
        (["dml", "data=digist"], "unknown data set or path 'digist'. Did you mean 'digits'?"),
        (["dml", "--data", "digist"], "data.name: unknown data set or path 'digist'"),
        (["dml", "--data", "gone.npz"], "data.name: gone.npz: no such file or folder"),
        (["dml", "arm=mutul"], "arm: unknown arm 'mutul'. Did you mean 'mutual'?"),
        (["dml", "device=gpu9"], "device: 'gpu9' is not available here"),
        (["dml", "peers.b=null"], "an edge needs two different peers"),
        (["dml", "peers.ensemble=cnn"], "'ensemble' cannot name a peer"),
        (["dml", "peers.self=cnn"], "'self' cannot name a peer"),
        (["dml", "data.train_size=100000"], "data.train_size: 100000 rows asked for"),
        (["dml", "data.labels=3"], "data.labels: 3"),
        (["renyi", "transfer.alpha=0"], "transfer.alpha: input should be greater than"),
        (["renyi", "transfer.alpha=-1"], "transfer.alpha: input should be greater than"),
        (["renyi", "transfer.alpha=null"], "transfer.alpha: divergence 'renyi' needs its order"),
        (["dml", "transfer.alpha=2"], "transfer.alpha: found 2 with divergence 'kl'"),
        (["nothing.yaml"], "nothing.yaml: no such file"),
        (["dml", "--resume"], "--resume: name the run folder to continue with --out"),
        (["dml", "epochs=2", "epochs=3"], "epochs: given twice, 'epochs=2' and 'epochs=3'"),
        (["dml", "seed=1", "--seed", "2"], "seed: given twice, 1 and --seed 2"),
        (["dml", "data.name=a", "--data", "b"], "data.name: given twice, 'a' and --data b"),
        (["dml", "data=a", "--data", "b"], "data.name: set twice, to 'a' and 'b'"),
        (["dml", "transfer.weight=2", "transfer=none"], "would replace transfer.weight"),
    ],
)
def test_run_refuses_and_leaves_no_folder(cli, tmp_path, words, expected):
    refused(cli("run", *words), expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--arms", "mutul"], "--arms: unknown arm 'mutul'. Did you mean 'mutual'?"),
        (["--arms", ""], "--arms: unknown arm ''"),
        (["--seeds", "3-1"], "--seeds: '3-1'; expected numbers such as 0-4 or 0,3,7"),
        (["--seeds", "1,1"], "--seeds: expected different seeds"),
        (["arms.odd={transfer.divergence: kll}"], "transfer.divergence: found 'kll'"),
        (["arms.odd={data.name: digist}"], "unknown data set or path 'digist'"),
        (["arms=null"], "arms: nothing to compare"),
        (["--resume"], "--resume: name the folder"),
        (['arms={"../../victim": {}, x: {}}'], "arms: '../../victim' cannot name an arm"),
        (['arms={"": {}}'], "arms: '' cannot name an arm: it is empty"),
        (['arms={"a\\0b": {}}'], "arms: 'a\\x00b' cannot name an arm"),
        (['arms={"/tmp/victim": {}}'], "arms: '/tmp/victim' cannot name an arm"),
        (["arms={a: {}, A: {}}"], "arms: 'a' and 'A' differ by case alone"),
        (['peers={"../x": mlp, b: mlp}'], "peers: '../x' cannot name a peer"),
        (["peers={A: mlp, a: mlp}"], "peers: 'A' and 'a' differ by case alone"),
        (["seed=3"], "seed: say it with --seeds"),
        (["arm=mutual"], "arm: say it with --arms"),
    ],
)
def test_compare_checks_every_arm_before_the_first_run(cli, tmp_path, words, expected):
    refused(cli("compare", "dml", *words), expected)
    assert not list(tmp_path.iterdir())


def test_peers_that_disagree_on_the_classes(cli, tmp_path):
    (tmp_path / "five_classes.py").write_text(
        "from torch import nn\n\n"
        "def five(in_shape):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))\n"
    )
    own = "peers.b={model: python:five_classes:five}"
    said = cli("run", "dml", *over(*TINY, own), "--out", "run")
    refused(said, "peers.b: gives outputs of shape (2, 5)", "has 10 classes")
    assert not (tmp_path / "run").exists()


def with_nan(arrays):
    x = arrays["x_train"].astype(np.float32)
    x[7, 0, 0] = np.nan
    others = {key: arrays[key].astype(np.float32) for key in ("x_val", "x_test")}
    return {"x_train": x, **others}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_nan, "x_train: 1 values are NaN or infinite, the first in row 7"),
        (lambda a: {"y_test": a["y_test"] + 3}, "y_test: 60 labels are wrong: row 0 holds 3"),
        (lambda a: {"y_train": a["y_train"] - 2}, "y_train: 20 labels are wrong: row 0 holds -2"),
        (lambda a: {"y_train": a["y_train"] * 0}, "only class 0 occurs"),
        (lambda a: {"y_train": a["y_train"][:9]}, "x_train has 60 rows but y_train has 9"),
        (lambda a: {"x_test": a["x_test"][:0], "y_test": a["y_test"][:0]}, "x_test is empty"),
        (lambda a: {"x_test": a["x_test"][:, :7]}, "x_test has shape (60, 7, 8)"),
        (lambda a: {"x_test": a["x_test"] / 255}, "x_test is float64 but x_train is uint8"),
        (lambda a: {"x_train": a["x_train"].astype(int)}, "x_train: dtype int64"),
        (lambda a: {"y_train": a["y_train"].astype(object)}, "'y_train' holds pickled"),
    ],
)
def test_wrong_arrays(cli, tmp_path, change, expected):
    arrays = small_arrays()
    np.savez(tmp_path / "my.npz", **(arrays | change(arrays)))
    refused(cli("run", "dml", "--data", "my.npz", "--out", "run"), "my.npz: ", expected)
    refused(cli("validate", "dml", "--data", "my.npz"), "my.npz: ", expected)
    assert not (tmp_path / "run").exists()


def test_a_truncated_npz(cli, tmp_path):
    np.savez(tmp_path / "whole.npz", **small_arrays())
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "my.npz").write_bytes(content[: len(content) // 2])
    refused(cli("run", "dml", "--data", "my.npz", "--out", "run"), "my.npz: ", "cut short")
    assert not (tmp_path / "run").exists()


def test_a_misnamed_array(cli, tmp_path):
    arrays = small_arrays()
    arrays["y_tset"] = arrays.pop("y_test")
    np.savez(tmp_path / "my.npz", **arrays)
    said = cli("run", "dml", "--data", "my.npz")
    refused(said, "array 'y_test' is missing. Did you mean 'y_tset'?")


def test_a_folder_that_already_holds_something(cli, tmp_path, run_folder):
    before = (run_folder / "results.json").read_bytes()
    refused(cli("run", "dml", *TINY, "--out", "run"), "run: already holds a run", "--resume")
    assert (run_folder / "results.json").read_bytes() == before

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for verb in ("run", "compare"):
        said = cli(verb, "dml", *TINY, "--out", "full")
        refused(said, "full: exists and is not empty; choose another --out")
        refused(cli(verb, "dml", *TINY, "--out", "full/notes.txt"), "is a file; expected a folder")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_resume_with_a_changed_configuration(cli, run_folder):
    said = cli("run", "dml", *TINY, "lr=0.01", "peers.c=mlp", "--out", "run", "--resume")
    refused(said, "cannot resume with a changed configuration", "lr: was 0.05, now 0.01")
    assert "peers.c.model: was 'not set', now 'mlp'" in said.err
    assert "epochs" not in said.err


def test_resume_where_there_is_nothing_to_resume(cli, tmp_path, run_folder):
    (tmp_path / "empty").mkdir()
    refused(cli("run", "dml", "--out", "empty", "--resume"), "empty holds no run (no config.yaml)")
    refused(cli("run", "dml", "--out", "gone", "--resume"), "gone does not exist")
    (tmp_path / "empty" / "notes.txt").touch()
    refused(cli("compare", "dml", "--out", "empty", "--resume"), "empty holds no comparison")
    refused(cli("compare", "dml", "--out", "run", "--resume"), "run holds a single run")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "run"],
        ["predict", "run", "rows.npz"],
        ["export", "run", "--format", "safetensors"],
        ["report", "run"],
    ],
    ids=lambda words: words[0],
)
def test_a_file_that_cannot_be_written_is_found_before_the_work(
    cli, tmp_path, run_folder, words, monkeypatch
):
    monkeypatch.setattr("peerlearn.cohort.Cohort.eval", lambda self: pytest.fail("work was done"))
    (tmp_path / "a.html").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe.html")
    refused(cli(*words, "--out", "a.html"), "--out a.html: is a folder; expected a file")
    refused(cli(*words, "--out", "file/x.html"), "--out file/x.html: ", "file is no folder")
    refused(cli(*words, "--out", "pipe.html"), "--out pipe.html: is a pipe or a device")
    assert stat.S_ISFIFO((tmp_path / "pipe.html").stat().st_mode)
    # What root is never told.
    monkeypatch.setattr("peerlearn.files.os.access", lambda _, mode, **__: not mode & os.W_OK)
    refused(cli(*words, "--out", "new/x.html"), f"--out new/x.html: {tmp_path} cannot be written")


@pytest.mark.parametrize("verb", ["run", "compare"])
def test_a_folder_that_cannot_be_made_is_found_before_the_work(cli, tmp_path, verb):
    (tmp_path / "file").write_text("")
    refused(cli(verb, "dml", *TINY, "--out", "file/run"), "--out file/run: ", "file is no folder")


def test_names_of_strangers_do_not_reach_for_the_terminal(cli, run_folder):
    info = json.loads((run_folder / "data.json").read_text())
    info["class_names"] = ["\x1b[31mred", *map(str, range(1, 10))]
    (run_folder / "data.json").write_text(json.dumps(info))
    results = json.loads((run_folder / "results.json").read_text()) | {"data": "\x1b]0;title\x07"}
    (run_folder / "results.json").write_text(json.dumps(results))
    for words in (["eval"], ["predict", "no\x1b[2Jthing.npz"], ["eval", "--data", "\x1b[2J.npz"]):
        said = cli(words[0], "run", *words[1:])
        assert said.status == 2 and "\x1b" not in said.err + said.out
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    assert said.status == 0 and "\x1b" not in said.err + said.out, said
