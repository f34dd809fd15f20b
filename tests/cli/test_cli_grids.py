"""Comparisons over processes and clusters, as they are typed."""

import os
import shlex
import subprocess
import sys

import pytest
from overriding import over
from tiny_commands import TINY

WORDS = ["compare", "dml", *TINY, "--arms", "mutual,independent", "--seeds", "0-1"]


def test_lines_of_a_plan_make_the_comparison(cli, tmp_path):
    planned = cli(*WORDS, "--out", "grid", "--plan")
    assert planned.status == 0
    lines = planned.out.splitlines()
    assert len(lines) == 4 and not (tmp_path / "grid").exists()
    for number, line in enumerate(lines):
        program, *words = shlex.split(line)
        assert program == "peerlearn"
        said = cli(*words)
        assert said.status == 0, said.err
        last = number == 3
        assert (tmp_path / "grid" / "results.json").exists() == last
        if not last:
            name = planned.out.splitlines()[number].split()[-1]
            left = f"cell {name}: nothing is left to do here; {number + 1} of 4 are finished"
            assert left in said.out
    told = cli("status", "grid")
    assert told.out.splitlines()[-2:] == ["4 cells: 4 done", "results: grid/results.json"]
    assert cli(*WORDS, "--out", "grid", "--worker").status == 0
    longer = cli(*WORDS[:2], *over(*WORDS[2:], "epochs=3"), "--out", "grid", "--worker")
    assert (longer.status, "here 3. A worker helps with a comparison as it is" in longer.err) == (
        2,
        True,
    ), longer.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--jobs", "0"], "--jobs: 0; allowed: 1 or more, or auto"),
        (["--jobs", "-2"], "--jobs: -2; allowed: 1 or more, or auto"),
        (["--jobs", "many"], "--jobs: 'many'; allowed: a number, or auto"),
        (["--worker"], "--worker: name the folder that all share with --out"),
        (["--plan"], "--plan: name the folder that all share with --out"),
        (["--worker", "--plan", "--out", "x"], "--worker --plan: choose one of them"),
        (["--cell", "mutual:0", "--out", "x"], "--cell: is one that a --worker trains"),
        (
            ["--cell", "mutal:0", "--out", "x", "--worker"],
            "--cell: unknown cell 'mutal:0'. Did you mean 'mutual:0'?",
        ),
        (
            ["--cell", "4", "--out", "x", "--worker"],
            "--cell 4: the grid has 4 cells, 0 to 3",
        ),
        (["--partition", "gpu", "--out", "x"], "--partition: is an option of --slurm"),
        (["--requeue"], "--requeue: is an option of --slurm"),
        (["--slurm", "--out", "x", "--tasks", "0"], "--tasks: 0; allowed: 1 or more"),
        (["--slurm", "--out", "x", "--sbatch", "mem"], "--sbatch: 'mem'; expected an option"),
        (["--slurm", "--out", "x", "--time", "1\n#SBATCH"], "is no value of an option of sbatch"),
        (["--slurm", "--out", "a%b"], "--out a%b: sbatch reads %"),
        (["--slurm", "--out", "x"], "--slurm: no sbatch here"),
        (["--cluster", "dask"], "--cluster: unknown kind of cluster 'dask'. Allowed: ray."),
        (["--cell", "²", "--out", "x", "--worker"], "--cell: unknown cell '²'"),
        (["--tasks", "0", "--plan", "--out", "x"], "--tasks: is an option of --slurm; add"),
        (["--time", "", "--plan", "--out", "x"], "--time: is an option of --slurm; add"),
        (["--cluster", "ray:head"], "--cluster ray:head: 'head' is no address; expected ray or"),
        (["--cluster", "ray", "--jobs", "2"], "--cluster --jobs: choose one of them"),
        (["--cluster", "ray", "--slurm", "--out", "x"], "--slurm --cluster: choose one of them"),
        (["--cluster", "ray", "--gpus", "1.5"], "--gpus: 1.5; allowed: 0 to 1, or a whole number"),
        (["--cpus", "2"], "--cpus: is an option of --cluster; add --cluster ray"),
    ],
)
def test_bad_usage_is_told(cli, tmp_path, monkeypatch, words, expected):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    said = cli(*WORDS, *words)
    assert (said.status, expected in said.err) == (2, True), said.err
    assert not list(tmp_path.iterdir())


#: sbatch(1): prints "jobid" or "jobid;cluster" with --parsable; a wrong option is an error on
#: stderr and status 1. squeue(1): a line a task; "Invalid job id specified" of one that is gone.
SBATCH = """\
#!{python}
import json, pathlib, sys
assert sys.argv[1] == "--parsable"
text = pathlib.Path(sys.argv[2]).read_text()
options = [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("#SBATCH ")]
if "--partition=none" in options:
    sys.exit("sbatch: error: invalid partition specified: none\\n"
             "sbatch: error: Batch job submission failed: Invalid partition name specified")
pathlib.Path("submitted.json").write_text(json.dumps(options))
print("4242;cluster")
"""
SQUEUE = """\
#!{python}
import sys
if "--jobs=4242" not in sys.argv:
    sys.exit("slurm_load_jobs error: Invalid job id specified")
print("RUNNING\\nRUNNING\\nPENDING")
"""
SCONTROL = """\
#!{python}
import pathlib, sys
pathlib.Path("requeued").write_text(" ".join(sys.argv[1:]))
"""


def test_a_file_is_no_folder_for_workers(cli, tmp_path):
    (tmp_path / "x").touch()
    said = cli(*WORDS, "--out", "x", "--worker")
    assert (said.status, "--out x: is a file; expected a folder" in said.err) == (2, True), said.err


def test_processes_are_a_number(cli, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    for words in (WORDS, ["run", "dml", *TINY]):
        said = cli(*words)
        assert said.status == 2 and "WORLD_SIZE in the environment: found 'two'" in said.err


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine with stand-ins for Slurm's commands."""
    place = tmp_path / "bin"
    place.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL)):
        path = place / name
        path.write_text(text.replace("{python}", sys.executable))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (r"printf '\377 hello\n'", "said '\ufffd hello' in place of the number of a job"),
        ("echo ²", "said '²' in place of the number of a job"),
        (r"printf 'bad \377\n' >&2; exit 1", "--slurm: sbatch: bad \ufffd"),
    ],
)
def test_whatever_bytes_sbatch_answers_are_told(cli, slurm, answer, expected):
    (slurm / "sbatch").write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
    said = cli(*WORDS, "--out", "grid", "--slurm")
    assert said.status in (1, 2) and expected in said.err, said.err


def test_an_array_is_submitted_and_its_tasks_are_workers(cli, tmp_path, slurm):
    import json

    asked = ["--partition", "gpu", "--time", "1:00:00", "--gres", "gpu:1", "--sbatch", "--mem=8G"]
    said = cli(*WORDS, "--out", "grid", "--slurm", "--tasks", "3", *asked)
    assert said.status == 0, said.err
    assert said.out.splitlines() == [
        "submitted as job 4242: 3 tasks for 4 cells",
        "see where they are: peerlearn status grid",
    ]
    options = json.loads((tmp_path / "submitted.json").read_text())
    assert options == [
        "--job-name=peerlearn-dml",
        "--array=0-2",
        f'--output="{tmp_path}/grid/slurm/%A_%a.log"',
        "--open-mode=append",
        "--signal=B:USR1@120",
        "--partition=gpu",
        "--time=1:00:00",
        "--gres=gpu:1",
        "--mem=8G",
    ]
    told = cli("status", "grid")
    assert told.status == 0 and "4 cells: 4 waiting" in told.out
    assert "Slurm job 4242: 1 pending, 2 running" in told.out
    assert cli(*WORDS, "--out", "grid", "--worker", "--cell", "0").status == 0, "a task joins"
    (tmp_path / "grid" / "slurm.json").write_text('{"job": "1", "tasks": 3}')
    assert "Slurm job 1: no task is in the queue" in cli("status", "grid").out


def test_what_slurm_refuses_is_told_in_its_words(cli, tmp_path, slurm):
    said = cli(*WORDS, "--out", "grid", "--slurm", "--partition", "none")
    assert said.status == 2
    assert "--slurm: sbatch: sbatch: error: Batch job submission failed: Invalid par" in said.err


#: In place of the worker: ends as one does that a signal lets save.
WORKER = """\
import signal, sys, time
from pathlib import Path

def stop(number, frame):
    time.sleep(0.2)
    Path("got").write_text(str(number))
    sys.exit(75)

signal.signal(signal.SIGUSR1, stop)
signal.signal(signal.SIGTERM, stop)
Path("started").touch()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("sent", "requeue", "queued"),
    [("USR1", True, True), ("USR1", False, False), ("TERM", True, False)],
)
def test_at_its_time_limit_a_task_saves_and_is_queued_again(
    tmp_path, slurm, monkeypatch, sent, requeue, queued
):
    import signal
    import time

    from peerlearn.compare.slurm import Array

    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "worker.py"]
    text = Array("dml", 3, requeue=requeue).script(command, tmp_path, tmp_path / "out")
    assert ("#SBATCH --requeue" in text) == requeue
    (tmp_path / "array.sh").write_text(text)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4242")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with subprocess.Popen(["bash", str(tmp_path / "array.sh")]) as task:
        end = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < end:
            time.sleep(0.02)
        task.send_signal(getattr(signal, f"SIG{sent}"))
        assert task.wait(60) == 75
    assert (tmp_path / "got").read_text() == str(int(getattr(signal, f"SIG{sent}")))
    said = (tmp_path / "requeued").read_text() if queued else ""
    assert said == ("requeue 4242_2" if queued else "")
    assert (tmp_path / "requeued").exists() == queued


def test_a_task_whose_worker_has_only_begun_to_start_is_queued_again(tmp_path, slurm, monkeypatch):
    from peerlearn.compare.slurm import Array

    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4242")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    command = ["bash", "-c", "kill -USR1 $PPID; sleep 60"]
    text = Array("dml", 1, requeue=True).script(command, tmp_path, tmp_path / "out")
    (tmp_path / "array.sh").write_text(text)
    assert subprocess.run(["bash", str(tmp_path / "array.sh")], check=False).returncode == 138
    assert (tmp_path / "requeued").read_text() == "requeue 4242_2"


def test_a_task_ends_as_its_worker_does(tmp_path, slurm):
    from peerlearn.compare.slurm import Array

    for status in (0, 1, 2):
        command = [sys.executable, "-c", f"raise SystemExit({status})"]
        text = Array("dml", 1, requeue=True).script(command, tmp_path, tmp_path / "out")
        (tmp_path / "array.sh").write_text(text)
        done = subprocess.run(["bash", str(tmp_path / "array.sh")], check=False)
        assert done.returncode == status
    assert not (tmp_path / "requeued").exists()
