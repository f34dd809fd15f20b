"""Run folders that are damaged, or not ours: one message that names the file, and status 2."""

import json
import struct

import numpy as np
import pytest
from test_cli_bad_input import refused
from tiny_commands import TINY


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
