"""Runs that cannot go on: one message, status 1 or 130, and everything saved still good."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from overriding import over
from tiny_commands import TINY

from peerlearn.engine.run_folder import RunFolder

MAIN = "from peerlearn.cli import main; main()"
MEASURED = ("peers", "mean_peer", "ensemble", "between_peers", "reliability")


def block(folder):
    (arm,) = json.loads((folder / "results.json").read_text())["arms"].values()
    return {key: arm[key] for key in MEASURED}


def failed(said, *expected: str) -> None:
    assert said.status == 1, said
    assert said.err.splitlines()[-1].startswith("peerlearn: ")
    assert "Traceback" not in said.err
    for part in expected:
        assert part in said.err


@pytest.fixture
def full_disk(monkeypatch):
    """`full_disk(n)`: the first n files can be written, then the disk is full; None: no limit."""
    sync = os.fsync
    left = {"files": 0}

    def limited(handle):
        if left["files"] is not None:
            if left["files"] == 0:
                raise OSError(28, "No space left on device")
            left["files"] -= 1
        sync(handle)

    monkeypatch.setattr(os, "fsync", limited)
    return lambda files: left.update(files=files)


def test_a_loss_that_is_not_finite_names_peer_step_and_checkpoint(cli, tmp_path):
    words = ["lr=1e30", "precision=fp32", "checkpoint_minutes=1e-9", "lr_schedule=constant"]
    said = cli("run", "dml", *TINY, *words, "evaluation.every=2", "--out", "run")
    failed(said, "peer 'a'", "nan at step 1", "epoch 2 of 2")
    assert "last good checkpoint: run/checkpoints/last/state.safetensors" in said.err
    assert not (tmp_path / "run" / "results.json").exists()


def test_outputs_that_are_not_finite_end_a_run_too(cli, tmp_path):
    words = ["lr=1e30", "precision=fp32", "evaluation.select=last", "lr_schedule=constant"]
    said = cli("run", "dml", *TINY, *words, "--out", "run")
    failed(said, "peer 'a': its outputs became NaN", "nll nan", "stage 'mutual', epoch 1 of 2")
    assert "no checkpoint was written yet" in said.err
    assert not (tmp_path / "run" / "results.json").exists()


def test_in_a_comparison_a_failure_names_the_cell(cli):
    said = cli("compare", "dml", *TINY, "lr=1e30", "--arms", "independent", "--seeds", "2")
    failed(said, "arm 'independent', seed 2: peer 'a'")


@pytest.mark.parametrize("files", range(9))
def test_a_full_disk_leaves_whole_files_that_a_run_can_go_on_from(
    cli, tmp_path, trained, full_disk, files
):
    full_disk(files)
    said = cli("run", "dml", *TINY, "--out", "run")
    failed(said, "cannot write run/", "No space left on device", "free some space")
    assert not list((tmp_path / "run").rglob(".*"))

    full_disk(None)
    resume = ["--resume"] if (tmp_path / "run" / "config.yaml").exists() else []
    assert cli("run", "dml", *TINY, "--out", "run", *resume).status == 0
    assert block(tmp_path / "run") == block(trained)
    records = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(record)["epoch"] for record in records] == [1, 2]


def test_a_disk_that_really_is_full(cli, tmp_path, trained):
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(small)]
    try:
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("only root can mount a small disk")
    except FileNotFoundError:
        pytest.skip("no mount command here")
    try:
        failed(cli("run", "dml", *TINY, "--out", "small/run"), "cannot write small/run/", "space")
        assert subprocess.run([*command[:-1], "-o", "remount,size=4m", str(small)]).returncode == 0
        assert cli("run", "dml", *TINY, "--out", "small/run", "--resume").status == 0
        assert block(small / "run") == block(trained)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_log_without_room_is_a_failed_run(cli, tmp_path, monkeypatch):
    opened = Path.open

    def full(path, mode="r", *args, **more):
        if path.name == "metrics.jsonl" and mode == "a":
            raise OSError(28, "No space left on device")
        return opened(path, mode, *args, **more)

    monkeypatch.setattr(Path, "open", full)
    said = cli("run", "dml", *TINY, "--out", "run")
    failed(said, "cannot write run/metrics.jsonl: No space left on device")


def test_a_corrupt_checkpoint_is_named_and_can_be_deleted(cli, run_folder, trained):
    (run_folder / "results.json").unlink()
    last = RunFolder(run_folder).last
    last.write_bytes(last.read_bytes()[:1000])
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    assert said.status == 2
    assert "last/state.safetensors: not a whole safetensors file" in said.err
    assert "delete it to train from the beginning" in said.err
    last.unlink()
    assert cli("run", "dml", *TINY, "--out", "run", "--resume").status == 0
    assert block(run_folder) == block(trained)


def test_a_finished_run_is_not_trained_again(cli, run_folder):
    before = (run_folder / "results.json").read_bytes()
    said = cli("run", "dml", *TINY, "--out", "run", "--resume")
    assert said.status == 0
    assert "epoch" not in said.err
    assert (run_folder / "results.json").read_bytes() == before


def test_an_interrupted_run_is_saved_and_resumes_to_the_same_results(cli, tmp_path):
    long = over(*TINY, "epochs=25", "data.train_size=600")
    words = [sys.executable, "-c", MAIN, "run", "dml", *long, "--out", "cut"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3/"):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 130
    assert re.search(r"interrupted; saved in stage 'mutual', epoch \d+ of 25; continue with", said)
    assert said.endswith("--out cut --resume\n")
    assert "Traceback" not in said
    state = RunFolder(tmp_path / "cut").load_last()
    assert state is not None and 3 <= state["progress"]["epoch"] < 25
    assert not (tmp_path / "cut" / "results.json").exists()

    assert cli("run", "dml", *long, "--out", "cut", "--resume").status == 0
    assert cli("run", "dml", *long, "--out", "whole").status == 0
    assert block(tmp_path / "cut") == block(tmp_path / "whole")


def test_an_interruption_between_cells_can_be_resumed(cli, tmp_path, monkeypatch):
    from peerlearn.compare import cells

    whole, done = cells.run_recipe, []

    def once(*args, **more):
        if done:
            raise KeyboardInterrupt
        done.append(whole(*args, **more))
        return done[0]

    words = ["compare", "dml", *TINY, "--arms", "independent", "--seeds", "0-1"]
    monkeypatch.setattr(cells, "run_recipe", once)
    said = cli(*words)
    assert said.status == 130
    assert said.err.endswith("--seeds 0-1 --out runs/compare-dml-1 --resume\n")
    monkeypatch.setattr(cells, "run_recipe", whole)
    assert cli(*words, "--out", "runs/compare-dml-1", "--resume").status == 0
    cells = tmp_path / "runs" / "compare-dml-1" / "cells" / "independent"
    assert {path.parent.name for path in cells.glob("*/results.json")} == {"seed-0", "seed-1"}


def test_an_interruption_before_anything_was_saved(cli, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("peerlearn.systems.running.run_recipe", stop)
    said = cli("run", "dml", *TINY)
    assert said.status == 130
    assert said.err == "interrupted; nothing was saved; run the same command again\n"
    assert not list(tmp_path.iterdir())
