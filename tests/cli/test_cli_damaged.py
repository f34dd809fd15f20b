"""Run folders that are damaged, or not ours: one message that names the file, and status 2."""

import json
import os
import shutil
import signal
import struct
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from overriding import parsed
from test_cli_bad_input import refused
from tiny_commands import TINY

from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid
from peerlearn.errors import InputError
from peerlearn.systems.overrides import apply_overrides
from peerlearn.systems.registry import find_recipe
from peerlearn.tasks.discovery.pages import read_sheets
from peerlearn.tasks.segmentation.pages import read_gallery


@contextmanager
def alarm(seconds=60):
    """A block that waits for something without an end fails."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def safetensors(header: str, size: int | None = None) -> bytes:
    """A file with this header, which says that it is `size` bytes long."""
    return struct.pack("<Q", len(header) if size is None else size) + header.encode()


def metadata(skeleton: str) -> bytes:
    """A file with a header of ours that holds this."""
    return safetensors(json.dumps({"__metadata__": {"peerlearn": skeleton}}))


MEASURED = '{"arms": {"mutual": {"peers": {"a": %s}, "mean_peer": {}, "ensemble": {}}}}'
RESULTS = [
    b"[]",
    b"{}",
    b"\xff",
    b"[" * 100_000,
    b'{"arms": {"m": 3}}',
    (MEASURED % '{"accuracy": "x"}').encode(),
    (MEASURED % '{"accuracy": {"mean": [1]}}').encode(),
    (MEASURED % "3").encode(),
]


def changed(value, *keys):
    """How to put another value at a place of the results of a finished run."""

    def change(results):
        inner = results
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


ARM = ("arms", "mutual")
INNER = {
    "seeds[0]": changed(["0"], "seeds"),
    "selected.a.value": changed("x", "selected", "a", "value"),
    "selected.a": changed([1], "selected", "a"),
    "arms.mutual": changed(None, *ARM),
    "arms.mutual.peers.a.accuracy": changed("x", *ARM, "peers", "a", "accuracy"),
    "arms.mutual.peers.a.accuracy.values": changed("x", *ARM, "peers", "a", "accuracy", "values"),
    "arms.mutual.reliability": changed([1], *ARM, "reliability"),
    "arms.mutual.reliability.a": changed("x", *ARM, "reliability", "a"),
    "arms.mutual.reliability.a.accuracy[0]": changed(["x"], *ARM, "reliability", "a", "accuracy"),
    "arms.mutual.noise.sigma": changed({"sigma": 3, "peers": {}}, *ARM, "noise"),
    "arms.mutual.flatness.peers.a.std": changed(
        {"sigma": [], "peers": {"a": {"mean": [1], "std": None}}}, *ARM, "flatness"
    ),
    "arms.mutual.selective.risk.a": changed("x", *ARM, "selective", "risk", "a"),
    "arms.mutual.ood.scores.entropy.edges": changed(
        {"scores": {"entropy": {"of": {}}}}, *ARM, "ood"
    ),
    "arms.mutual.corruption.kinds.blur.a.nll[0]": changed(
        {"levels": [1], "kinds": {"blur": {"a": {"nll": ["x"]}}}}, *ARM, "corruption"
    ),
    "arms.mutual.members[0]": changed([3], *ARM, "members"),
    "arms.mutual.edges[0].to": changed([{"from": "a", "to": None}], *ARM, "edges"),
    "arms.mutual.confusion.classes": changed("x", *ARM, "confusion", "classes"),
    "arms.mutual.confusion.of.a.true[0]": changed([None], *ARM, "confusion", "of", "a", "true"),
    "arms.mutual.confusion.of.a": changed([99], *ARM, "confusion", "of", "a", "true"),
    "differences[0].mean": changed(
        [{"arm": "mutual", "against": "b", "who": "a", "metric": "nll", "mean": "1"}], "differences"
    ),
    "differences[0].who": changed(
        [{"arm": "mutual", "against": "b", "who": [], "metric": "nll", "mean": 1}], "differences"
    ),
}


@pytest.mark.parametrize("field", INNER)
@pytest.mark.parametrize("words", [("eval", "run"), ("report", "run", "--out", "page.html")])
def test_results_with_inner_types_that_are_not_ours(cli, run_folder, field, words):
    path = run_folder / "results.json"
    results = json.loads(path.read_text())
    INNER[field](results)
    path.write_text(json.dumps(results))
    said = cli(*words)
    if not (words[0] == "report" and field.startswith("selected")):  # which it does not read
        refused(said, f"run/results.json: {field}")


def one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def no_array(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("index", b"not an array")


ODD = {
    "text": lambda path: path.write_text("x"),
    "nothing": lambda path: path.write_bytes(b""),
    "one array": one_array,
    "no array": no_array,
    "objects": lambda path: np.savez(path, index=np.array([{}], dtype=object)),
    "no pixels": lambda path: np.savez(path, index=np.zeros((2, 0))),
    "a number": lambda path: np.savez(path, index=np.array(3)),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("read", [read_gallery, read_sheets])
def test_galleries_that_are_not_ours(tmp_path, odd, read):
    path = tmp_path / "gallery.npz"
    ODD[odd](path)
    with pytest.raises(InputError, match=r"gallery\.npz: not readable as a gallery: "):
        read(path)


def loop(path):
    path.symlink_to(path.name)


PLACES = {"loop": loop, "folder": Path.mkdir, "pipe": os.mkfifo}


@pytest.mark.parametrize("damage", PLACES)
@pytest.mark.parametrize(
    "name", ["config.yaml", "results.json", "data.json", "checkpoints/best/a.safetensors", ".lock"]
)
def test_files_that_lead_nowhere(cli, run_folder, name, damage):
    path = run_folder / name
    path.unlink(missing_ok=True)
    PLACES[damage](path)
    verbs = {".lock": ["run", "dml", *TINY, "--out", "run", "--resume"]}
    if name == ".lock":
        (run_folder / "results.json").unlink()
    with alarm():
        said = cli(*verbs.get(name, ["eval", "run"]))
    if said.status:  # of a run without results what is left is measured
        assert said.status == 2
        assert f"run/{name}: " in said.err or "holds no run" in said.err
        assert "Traceback" not in said.err


CELL = [f"cells/mutual/seed-0/{name}" for name in ("results.json", "config.yaml", ".lock")]
COMPARE = ["compare", "dml", *TINY, "--arms", "mutual", "--seeds", "0", "--out", "grid"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A finished comparison, read only."""
    folder = tmp_path_factory.mktemp("grid") / "grid"
    recipe, given = find_recipe("dml")
    changes = parsed(*TINY)
    cells = plan_cells(recipe, given, changes, ["mutual"], [0])
    run_grid(recipe, apply_overrides(given, changes), cells, folder)
    return folder


@pytest.mark.parametrize("damage", [*PLACES, "text", "list"])
@pytest.mark.parametrize("name", ["config.yaml", *CELL])
def test_comparisons_that_are_damaged(cli, grid, tmp_path, name, damage):
    path = Path(shutil.copytree(grid, tmp_path / "grid")) / name
    path.unlink(missing_ok=True)
    if damage in PLACES:
        PLACES[damage](path)
    elif name.endswith(".lock"):
        pytest.skip("a file is taken over when it was silent for long")
    else:
        path.write_text({"text": '"x"', "list": "[1]"}[damage])
    if name.endswith(".lock"):
        (path.parent / "results.json").unlink()
    with alarm():
        said = cli(*COMPARE, "--resume")
    assert "Traceback" not in said.err
    if damage == "loop" and name.startswith("cells") and not name.endswith(".lock"):
        assert said.status == 0  # a link that leads nowhere is as good as no file
        return
    assert said.status == 2
    last = said.err.strip().splitlines()[-1]
    nothing = "peerlearn: --resume: grid holds no comparison (no config.yaml)"
    named = f"peerlearn: grid/{name}: "
    assert last.startswith(nothing if (name, damage) == ("config.yaml", "loop") else named)


@pytest.mark.parametrize("content", RESULTS, ids=range(len(RESULTS)))
@pytest.mark.parametrize("words", [("eval", "run"), ("report", "run", "--out", "page.html")])
def test_results_that_are_not_ours(cli, tmp_path, run_folder, content, words):
    (run_folder / "results.json").write_bytes(content)
    refused(cli(*words), "run/results.json: ")
    assert not (tmp_path / "page.html").exists()


def test_results_of_nobody(cli, run_folder):
    (run_folder / "results.json").write_text('{"data": "digits", "arms": {"m": {}}}')
    refused(cli("eval", "run"), "run/results.json: arms.m.peers: missing")


@pytest.mark.parametrize("name", ["config.yaml", "data.json", "results.json"])
def test_what_is_no_text_or_no_file(cli, run_folder, tmp_path, name):
    np.save(tmp_path / "rows.npy", np.zeros((2, 8, 8), np.uint8))
    path = run_folder / name
    path.write_bytes(b"\xff\xfe")
    refused(cli("predict", "run", "rows.npy"), f"run/{name}: not readable as UTF-8 text")
    path.unlink()
    path.mkdir()
    refused(cli("predict", "run", "rows.npy"), f"run/{name}: is a folder, not a file")


@pytest.mark.parametrize("content", ["[]", "3", '{"train": 3}', '{"train": {"rows": "x"}}', "{"])
def test_fingerprints_that_are_not_ours(cli, run_folder, content):
    (run_folder / "fingerprint.json").write_text(content)
    refused(cli("eval", "run"), "run/fingerprint.json: ")


def test_metrics_that_are_no_text(cli, run_folder):
    (run_folder / "metrics.jsonl").write_bytes(b"\xff\xfe")
    refused(cli("report", "run", "--out", "page.html"), "run/metrics.jsonl: not readable as UTF-8")
    (run_folder / "results.json").unlink()
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    assert said.status == 2
    assert "peerlearn: run/metrics.jsonl: not readable as UTF-8" in said.err


WEIGHTS = [
    b"",
    b"\xff" * 100,
    safetensors("{}", 1 << 62),
    safetensors("[]"),
    safetensors('{"x": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}'),
    safetensors('{"x": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}'),
]
STATES = [metadata(it) for it in ("3", "[", '{"items": 3}', '{"tensor": "gone"}', "{}")]


@pytest.mark.parametrize("content", WEIGHTS, ids=range(len(WEIGHTS)))
def test_weights_with_odd_headers(cli, run_folder, content):
    (run_folder / "checkpoints/best/a.safetensors").write_bytes(content)
    refused(cli("eval", "run"), "checkpoints/best/a.safetensors: ")


@pytest.mark.parametrize("content", WEIGHTS + STATES, ids=range(len(WEIGHTS + STATES)))
def test_checkpoints_with_odd_headers(cli, run_folder, content):
    (run_folder / "results.json").unlink()
    (run_folder / "checkpoints/last/state.safetensors").write_bytes(content)
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    assert said.status == 2
    assert "peerlearn: run/checkpoints/last/state.safetensors: " in said.err
    assert "delete it to train from the beginning" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "metrics.jsonl", "data.json"])
def test_no_verb_writes_over_a_file_of_a_run(cli, tmp_path, run_folder, name):
    np.save(tmp_path / "rows.npy", np.zeros((2, 8, 8), np.uint8))
    before = (run_folder / name).read_bytes()
    for words in (("eval", "run"), ("predict", "run", "rows.npy"), ("export", "run")):
        refused(cli(*words, "--out", f"run/{name}"), f"--out run/{name}: is a file of the run")
    assert (run_folder / name).read_bytes() == before
    weights = "run/checkpoints/best/a.safetensors"
    refused(cli("export", "run", "--out", weights), "is a file of the run itself")
