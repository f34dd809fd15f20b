"""Signals end every verb with a word, a status and nothing half written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from overriding import over
from tiny_commands import TINY

MAIN = "from peerlearn.cli import main; main()"
LONG = over(*TINY, "epochs=60", "data.train_size=600")


def stopped(words, place: Path, sent: signal.Signals, line: str) -> tuple[int, str]:
    """Status and stderr of a command that gets a signal when a line begins so."""
    command = [sys.executable, "-c", MAIN, *map(str, words)]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if said.startswith(line):
                process.send_signal(sent)
                break
        return process.wait(60), process.stderr.read()


def test_a_scheduler_is_told_that_there_is_more_to_do(tmp_path):
    words = ["run", "dml", *LONG, "--out", "run"]
    status, said = stopped(words, tmp_path, signal.SIGTERM, "epoch 2/")
    assert status == 75
    assert "stopped by SIGTERM; saved in stage 'mutual', epoch " in said
    assert said.endswith("--out run --resume\n")
    assert "Traceback" not in said
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.fixture
def at(monkeypatch):
    """`at("module.name", signal)`: the signal comes when this is called, in this process."""

    def arrange(target: str, number: int) -> None:
        def send(*_, **__):
            os.kill(os.getpid(), number)
            raise AssertionError("the signal did not act")

        monkeypatch.setattr(target, send)

    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield arrange
    for number, handler in before.items():
        signal.signal(number, handler)


def test_before_training_nothing_is_left(cli, tmp_path, at):
    at("peerlearn.systems.running.trainer_of", signal.SIGTERM)
    said = cli("run", "dml", *TINY, "--out", "run")
    assert said.status == 75
    assert said.err == "stopped by SIGTERM; nothing was saved; run the same command again\n"
    assert not list(tmp_path.iterdir())


def test_in_the_final_evaluation_everything_trained_is_kept(cli, tmp_path, at):
    at("peerlearn.engine.trainer.training_result", signal.SIGUSR1)
    said = cli("run", "dml", *TINY, "--out", "run")
    assert said.status == 75
    last = said.err.splitlines()[-1]
    assert last.startswith("stopped by SIGUSR1; the last checkpoint is in run/checkpoints/last; ")
    assert last.endswith("--out run --resume")
    state = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert state["epoch"] == 2


def test_while_the_report_is_written_the_results_are_there(cli, tmp_path, at):
    at("peerlearn.cli.output.report_beside", signal.SIGTERM)
    said = cli("run", "dml", *TINY, "--out", "run")
    assert said.status == 75
    assert "stopped by SIGTERM; the results are saved, the report is not written; " in said.err
    assert (tmp_path / "run" / "results.json").exists()


def test_a_comparison_says_how_many_cells_are_done(cli, tmp_path, at):
    at("peerlearn.compare.grid.collect", signal.SIGTERM)
    words = ["compare", "dml", *over(*TINY, "epochs=1"), "--arms", "independent", "--seeds", "0-1"]
    said = cli(*words, "--out", "versus")
    assert said.status == 75
    assert "stopped by SIGTERM; 2 cells are finished; continue with: peerlearn compare" in said.err


def test_eval_and_predict_end_alike(cli, run_folder, at):
    at("peerlearn.serving.open_run", signal.SIGTERM)
    for words in (("eval", "run"), ("predict", "run", "x.npz")):
        said = cli(*words)
        assert (said.status, said.out) == (75, "")
        assert said.err == "stopped by SIGTERM; nothing was saved; run the same command again\n"


def test_who_stops_reading_loses_no_report(tmp_path):
    command = f"{sys.executable} -c '{MAIN}' run dml {' '.join(map(repr, TINY))} --out run"
    shell = ["bash", "-c", f"{command} 2>err | true; echo ${{PIPESTATUS[0]}}"]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    said = (tmp_path / "err").read_text()
    assert done.stdout == "141\n", said
    assert "Traceback" not in said and "Exception" not in said
    assert (tmp_path / "run" / "results.json").exists()
    assert (tmp_path / "run" / "report.html").exists() or "no report" in said
